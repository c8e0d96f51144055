# What reaches the journal of Ollama's unit: not what llama-server says of each load and each request, some 60 lines
# that no setting turns off, nor the looks at the service's health. Whatever speaks of trouble stays, whoever says it.
# For sed -E. tests/ansible/ollama/test_journal.py holds it to lines of both.

# Metadata of the model: a word in it is no trouble.
/^([0-9.]+ [ID] )?llama_model_loader: - /d
# With time and level in front, as llama-server begins its lines where it is not told otherwise.
/^[0-9]+\.[0-9.]+ [WE] /b
/[Ee]rror|ERROR|[Ww]arn|WARN|[Ff]ail|FAIL|[Pp]anic|[Ff]atal|[Aa]bort|ASSERT|[Uu]nable|[Cc]annot|[Oo]ut of memory/b
/^[0-9]+\.[0-9.]+ [ID] /d
# Without: a function's name and a colon.
/^~?[a-z][A-Za-z0-9_]*: /d
/^(srv|slot|que|res|cmn) +/d
/^ *(prompt eval|eval|total) time +=/d
/^ +(graphs reused|draft acceptance|unaccounted) *=/d
/^[. ]*$/d
/^\[GIN\].* 200 .*(GET|HEAD) +"\/(api\/(version|tags|ps))?"$/d
