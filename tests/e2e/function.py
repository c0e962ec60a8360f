"""The deployed functions, as end-to-end tests handle them."""


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
