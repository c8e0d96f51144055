-- Asks what measures prompts (measure.py) whether one fits, and refuses a request whose prompt does not.
-- Whatever goes wrong here lets the request pass, as if nobody measured. For HAProxy 2.2 and newer, with one thread.

local WAIT_SECONDS = 2
-- After a question that had no answer in time, nobody waits for as long as this.
local PAUSE_SECONDS = 10
local paused_until = 0

local function ask(place, path, body)
    local socket = core.tcp()
    socket:settimeout(WAIT_SECONDS)
    if not socket:connect(place) then
        socket:close()
        return nil
    end
    local answer = nil
    if socket:send(path .. " " .. #body .. "\n" .. body) then
        answer = socket:receive("*l")
    end
    socket:close()
    return answer
end

core.register_action("measure", { "http-req" }, function(txn, place)
    local now = core.now().sec
    local body = txn.f:req_body()
    if now < paused_until or not body then
        txn:set_var("txn.measured", "unasked")
        return
    end
    local answer = ask(place, txn.f:path(), body)
    if core.now().sec - now >= WAIT_SECONDS then
        paused_until = core.now().sec + PAUSE_SECONDS
    end
    local word, document = string.match(answer or "", "^(%l+) ?(.*)$")
    txn:set_var("txn.measured", word or "unanswered")
    if word == "long" then
        local reply = txn:reply({ status = 400, reason = "Bad Request", body = document })
        reply:add_header("content-type", "application/json")
        txn:done(reply)
    end
end, 1)
