"""One function of a program: its parameters, its statements, and what it returns."""

import ast

from robo_ppo.env.language.expressions import Expressions
from robo_ppo.env.language.hints import strange_statement
from robo_ppo.env.language.operations import CONSTANTS, OPERATIONS
from robo_ppo.env.language.steps import Code, Value, freed, is_sound
from robo_ppo.env.language.text import refuse

WEIGHT = "weight"
_ANNOTATIONS = ("Tensor", "float", "int", "bool")


def compiled(node: ast.FunctionDef, where: str, terms: tuple[str, ...]) -> Code:
    """The steps of a function; a `UserError` with the line for whatever is not in the language."""
    if node.decorator_list:
        refuse(where, node.lineno, "decorators cannot stand here")
    if getattr(node, "type_params", None):
        refuse(where, node.lineno, "a term has no type parameters")
    check_annotation(node.returns, where, node.lineno)
    lowering = Expressions(where, terms, line=node.lineno)
    signals, settings = _parameters(node, lowering)
    body = list(node.body)
    says = docstring(body)
    if says:
        body = body[1:]
    if not body or not isinstance(body[-1], ast.Return):
        refuse(where, (body or [node])[-1].lineno, f"the term '{node.name}' must end with 'return …'")
    for statement in body[:-1]:
        _assign(statement, lowering)
    result = _returned(body[-1], lowering)
    return Code(
        node.name,
        says,
        node.lineno,
        signals,
        settings,
        lowering.constants,
        freed(lowering.steps, result.register),
        result.register,
        lowering.registers,
    )


def docstring(body: list[ast.stmt]) -> str:
    """The text that a body begins with; "" where there is none."""
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return " ".join(first.value.value.split()) or " "
    return ""


def number(node: ast.expr | None) -> float | None:
    """A number that is written out, perhaps with a sign; None for anything else."""
    sign = 1.0
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign, node = (-1.0 if isinstance(node.op, ast.USub) else 1.0), node.operand
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = sign * float(value)
    except OverflowError:
        return None
    return found if is_sound(found) else None


def check_name(name: str, what: str, where: str, line: int) -> None:
    """Refuse names that would be hidden, or hide what is there already."""
    if name.startswith("_"):
        refuse(where, line, f"the {what} '{name}' must not begin with an underscore")
    if name in OPERATIONS or name in CONSTANTS:
        refuse(where, line, f"the {what} '{name}' has the name of an operation; choose another")


def check_annotation(node: ast.expr | None, where: str, line: int) -> None:
    """Annotations such as `Tensor` are read over; what they cannot be is anything else."""
    named = node.attr if isinstance(node, ast.Attribute) and _is_torch(node.value) else None
    named = node.id if isinstance(node, ast.Name) else named
    if node is not None and named not in _ANNOTATIONS:
        refuse(where, line, "annotations are not needed; leave them out")


def _is_torch(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "torch"


def _parameters(node: ast.FunctionDef, lowering: Expressions) -> tuple[tuple[str, ...], dict[str, float | None]]:
    given, where = node.args, lowering.where
    if given.vararg or given.kwarg or given.posonlyargs:
        lowering.refuse("name each signal; *, ** and / cannot stand for them (a lone * comes before the settings)")
    if given.defaults:
        lowering.refuse("a signal has no default; settings come behind a lone *, as in (speed, *, limit=1.5)")
    if not given.args:
        lowering.refuse(f"the term '{node.name}' needs a signal; what is the same in every step teaches nothing")
    signals = tuple(argument.arg for argument in given.args)
    settings: dict[str, float | None] = {}
    for argument in (*given.args, *given.kwonlyargs):
        check_annotation(argument.annotation, where, argument.lineno)
        check_name(argument.arg, "parameter", where, argument.lineno)
        if argument.arg in lowering.names:
            refuse(where, argument.lineno, f"the parameter '{argument.arg}' stands there twice")
        is_signal = len(lowering.names) < len(signals)
        lowering.names[argument.arg] = Value(lowering.new(), "signal" if is_signal else "number")
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        if argument.arg == WEIGHT:
            refuse(where, argument.lineno, f"a setting cannot be called '{WEIGHT}'; that is the term's own")
        settings[argument.arg] = number(default)
        if default is not None and settings[argument.arg] is None:
            refuse(where, argument.lineno, f"the default of '{argument.arg}' must be a number that is written out")
    return signals, settings


def _assign(node: ast.stmt, lowering: Expressions) -> None:
    """`name = …`, `name += …`."""
    lowering.line = node.lineno
    if isinstance(node, ast.Assign):
        target = node.targets[0] if len(node.targets) == 1 else None
        value = node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        check_annotation(node.annotation, lowering.where, node.lineno)
        target, value = node.target, node.value
    elif isinstance(node, ast.AugAssign):
        target = node.target
        if isinstance(target, ast.Name) and target.id not in lowering.names:
            lowering.refuse(f"'{target.id}' has no value yet")
        value = ast.copy_location(ast.BinOp(target, node.op, node.value), node)
    else:
        lowering.refuse(strange_statement(node))
    if not isinstance(target, ast.Name):
        lowering.refuse("assign to one name, as in x = …")
    check_name(target.id, "name", lowering.where, node.lineno)
    if target.id in lowering.terms:
        lowering.refuse(f"the name '{target.id}' is that of a term; choose another")
    lowering.names[target.id] = lowering.expression(value)


def _returned(node: ast.stmt, lowering: Expressions) -> Value:
    assert isinstance(node, ast.Return)
    lowering.line = node.lineno
    if node.value is None:
        lowering.refuse("return what the term is worth")
    value = lowering.expression(node.value)
    lowering.line = node.lineno
    if value.kind in ("number", "truth"):
        lowering.refuse(
            "this is the same number for every environment and in every step; if it is meant, write it with a signal, "
            "as in 1.0 * ones_like(speed)"
        )
    return lowering.as_float(value)
