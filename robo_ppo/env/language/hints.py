"""What people and models write from habit, and what to write here instead."""

import ast

from robo_ppo.env.language.operations import CONSTANTS, OPERATIONS

HABITS = {
    "bool": "compare, as in x > 0",
    "int": "numbers are all floats; use floor(x) or round(x)",
    "len": "sizes are fixed; use mean(x) or sum(x)",
    "linalg": "write norm(x)",
    "print": "a program only computes",
    "range": "there are no loops; sum(x) and the others run over a vector",
    "full_like": "write 2.0 * ones_like(x)",
    "zeros": "write zeros_like(x)",
    "ones": "write ones_like(x)",
    "tensor": "write the number alone",
    "nan_to_num": "say with where(…) or clamp(…) what should hold there",
    "stack": "a term is one number for each environment; compute with the parts",
    "cat": "a term is one number for each environment; compute with the parts",
    "arctan2": "write atan2(y, x)",
    "arccos": "write acos(x)",
    "arcsin": "write asin(x)",
    "arctan": "write atan(x)",
    "absolute": "write abs(x)",
    "power": "write x ** y",
    "fabs": "write abs(x)",
    "clamp_min": "write clamp(x, min=…)",
    "clamp_max": "write clamp(x, max=…)",
}
"""Operations by the names that other libraries give them."""


def strange(node: ast.AST) -> str:
    """What to write instead of something that the language does not have."""
    if isinstance(node, ast.Attribute):
        if node.attr in CONSTANTS:
            return f"there are no dots here; write {node.attr}"
        name = {"linalg": "norm"}.get(node.attr, node.attr)
        hint = HABITS.get(name) or (f"write {name}(x)" if name in OPERATIONS else "operations are called as exp(x)")
        return f"there are no dots here: '.{node.attr[:40]}'; {hint}"
    said: dict[type[ast.AST], str] = {
        ast.Lambda: "'lambda' cannot stand here; write the expression where it is needed",
        ast.NamedExpr: "':=' cannot stand here; assign in a line of its own",
        ast.List: "lists cannot stand here; compute with signals and numbers",
        ast.Tuple: "several values cannot stand here; a term is one number for each environment",
        ast.Dict: "'{…}' can stand in weights alone",
        ast.JoinedStr: "texts have no use in a term",
        ast.Starred: "'*' cannot stand here",
        ast.Await: "'await' cannot stand here",
        ast.Slice: "':' can stand only as in x[:, :2]",
        ast.Yield: "'yield' cannot stand here; a term ends with return",
    }
    loops = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    if isinstance(node, loops):
        return "there are no loops; sum(x), mean(x) and the others run over a vector"
    return said.get(type(node), f"'{type(node).__name__}' is not known here; see docs/reward_language.md")


def strange_statement(node: ast.stmt) -> str:
    """What to write instead of a statement that the language does not have."""
    said: dict[type[ast.AST], str] = {
        ast.If: "'if' cannot begin a statement; write x = a if condition else b",
        ast.For: "there are no loops; sum(x), mean(x) and the others run over a vector",
        ast.While: "there are no loops",
        ast.Import: "nothing needs importing; the operations are there: exp(x), norm(x), where(…)",
        ast.ImportFrom: "nothing needs importing; the operations are there: exp(x), norm(x), where(…)",
        ast.FunctionDef: "functions cannot stand inside each other",
        ast.Return: "'return' stands once, at the end; write a if condition else b",
        ast.AnnAssign: "give the name a value",
        ast.Pass: "a term computes something and returns it",
        ast.Raise: "a term cannot stop the training",
        ast.Assert: "a term cannot stop the training",
    }
    if isinstance(node, ast.Expr):
        inner = node.value
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            return "a text can stand at the beginning of a function alone"
        if isinstance(inner, ast.Call | ast.Name | ast.Constant | ast.BinOp | ast.Compare):
            return "this computes something and forgets it; give it a name, or return it"
        return strange(inner)
    return said.get(type(node), f"'{type(node).__name__}' cannot stand here; a term assigns and returns")
