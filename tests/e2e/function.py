"""The deployed functions, as end-to-end tests handle them."""

import json
import ssl
import urllib.error
import urllib.request
from contextlib import closing

from local.stack import INGRESS_TOKEN


def start_afresh(stack, name=None):
    """Have a function's next invocation start in a new process, which has read no secret yet.

    The function that forwards, where no other is named.
    """
    name = name or stack.function_name
    variables = stack.functions.get_function_configuration(FunctionName=name)["Environment"]
    # The emulator ends the processes that have old settings, even where the new are the same.
    stack.functions.update_function_configuration(
        FunctionName=name, Environment={"Variables": variables["Variables"]}
    )


def post(stack, body, token=INGRESS_TOKEN):
    """Post a request to the ingress's URL; return the status and what was answered."""
    request = urllib.request.Request(  # noqa: S310 - the emulator's address, https
        stack.ingress_url,
        body.encode(),
        {"Content-Type": "application/json", "Authorization": f"Token {token}"},
    )
    context = ssl.create_default_context(cafile=stack.emulator.certificate)
    try:
        with urllib.request.urlopen(request, context=context) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with closing(error):
            return error.code, json.loads(error.read())
