"""OpenAI's Responses: text in, text and function calls out. Nothing is kept from one request to the next.

request    what is asked, and its job
envelope   the bodies of the answer, whole and as a stream of typed events
"""
