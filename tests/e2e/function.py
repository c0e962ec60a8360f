"""The deployed function, as end-to-end tests handle it."""


def start_afresh(stack):
    """Have the next invocation start in a new process, which has not read the secret yet."""
    name = stack.function_name
    variables = stack.functions.get_function_configuration(FunctionName=name)["Environment"]
    # The emulator ends the processes that have old settings, even where the new are the same.
    stack.functions.update_function_configuration(
        FunctionName=name, Environment={"Variables": variables["Variables"]}
    )
