"""From expressions to steps: each an operation of the table on numbered registers (`steps`).

    def slow_near(goal_distance, speed, *, margin=0.3):
        return -square(speed) * exp(-goal_distance / margin)

becomes `neg`, `square`, … with the lines they stand on. What is not in the language, or joins what
cannot be joined, is refused here.
"""

import ast

from robo_ppo.env.language.hints import HABITS, strange
from robo_ppo.env.language.operations import CONSTANTS, OPERATIONS, Operation
from robo_ppo.env.language.steps import LARGEST, Kind, Registers, Value
from robo_ppo.errors import did_you_mean

MOST_COLUMNS = 4096
_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "truediv",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
}
_LOGIC: dict[type[ast.AST], str] = {
    ast.And: "logical_and",
    ast.Or: "logical_or",
    ast.BitAnd: "logical_and",
    ast.BitOr: "logical_or",
}
_COMPARE: dict[type[ast.AST], str] = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
}


class Expressions(Registers):
    """Walks the expressions of one function."""

    def expression(self, node: ast.expr) -> Value:
        """The value of an expression."""
        self.line = node.lineno
        if isinstance(node, ast.Constant):
            return self.literal(node)
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.BinOp):
            return self.binary(node)
        if isinstance(node, ast.UnaryOp):
            return self.unary(node)
        if isinstance(node, ast.BoolOp):
            values = [self.expression(value) for value in node.values]
            return self.joined(_LOGIC[type(node.op)], values, "'and'" if isinstance(node.op, ast.And) else "'or'")
        if isinstance(node, ast.Compare):
            return self.compare(node)
        if isinstance(node, ast.IfExp):
            test = self.expression(node.test)
            branches = [self.expression(node.body), self.expression(node.orelse)]
            self.line = node.lineno
            return self.choice(test, *branches)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Subscript):
            return self.subscript(node)
        self.refuse(strange(node))

    def literal(self, node: ast.Constant) -> Value:
        """A number as it is written."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            said = {True: "write 1.0", False: "write 0.0"}.get(value) if isinstance(value, bool) else None
            self.refuse(f"only numbers can be written here; {said or 'texts and others have no use in a term'}")
        if abs(value) > LARGEST:
            self.refuse(f"the number is too large; at most {LARGEST:g}")
        return self.constant(float(value))

    def name(self, name: str) -> Value:
        """A signal, a setting, something assigned before, or a known constant."""
        if name in self.names:
            return self.names[name]
        if name in CONSTANTS:
            return self.constant(CONSTANTS[name])
        if name in OPERATIONS:
            self.refuse(f"{name} is an operation; call it, as in {name}({', '.join(OPERATIONS[name].names)})")
        self.refuse(
            f"there is no '{name}' here: a signal must be a parameter of the function; "
            f"{did_you_mean(name, [*self.names, *CONSTANTS])}"
        )

    def binary(self, node: ast.BinOp) -> Value:
        """Arithmetic, and `&` and `|`."""
        kind = type(node.op)
        if kind is ast.MatMult:
            self.refuse("'@' is not known here; write dot(a, b), which is one number for each environment")
        if kind not in _BINARY and kind not in _LOGIC:
            self.refuse("only + - * / // % ** and, for conditions, & and | join values")
        left, right = self.expression(node.left), self.expression(node.right)
        self.line = node.lineno
        if kind in _LOGIC:
            return self.joined(_LOGIC[kind], [left, right], "'&'" if kind is ast.BitAnd else "'|'")
        return self.arithmetic(_BINARY[kind], [left, right])

    def arithmetic(self, operation: str, values: list[Value]) -> Value:
        """An operation whose inputs and output are numbers."""
        values = [self.as_float(value) for value in values]
        if operation in ("truediv", "floordiv", "mod") and self.constants.get(values[1].register) == 0.0:
            self.refuse("this divides by zero")
        return self.emit(operation, values, common(values))

    def unary(self, node: ast.UnaryOp) -> Value:
        """Signs and negations."""
        value = self.expression(node.operand)
        self.line = node.lineno
        if isinstance(node.op, ast.USub):
            return self.arithmetic("neg", [value])
        if isinstance(node.op, ast.UAdd):
            return self.as_float(value)
        return self.joined("logical_not", [value], "'not'" if isinstance(node.op, ast.Not) else "'~'")

    def joined(self, operation: str, values: list[Value], what: str) -> Value:
        """Conditions joined to one, from left to right."""
        values = [self.as_condition(value, what) for value in values]
        if operation == "logical_not":
            return self.emit(operation, values, truth(values))
        found = values[0]
        for value in values[1:]:
            found = self.emit(operation, [found, value], truth([found, value]))
        return found

    def compare(self, node: ast.Compare) -> Value:
        """`a < b`, and `a < b < c`, which is both."""
        values = [self.expression(value) for value in (node.left, *node.comparators)]
        self.line = node.lineno
        found: list[Value] = []
        for operator, left, right in zip(node.ops, values, values[1:], strict=False):
            if type(operator) not in _COMPARE:
                self.refuse("only < <= > >= == and != compare")
            pair = [self.as_float(left), self.as_float(right)]
            found.append(self.emit(_COMPARE[type(operator)], pair, truth(pair)))
        return self.joined("logical_and", found, "'and'")

    def choice(self, test: Value, first: Value, second: Value) -> Value:
        """`first if test else second`, which computes both."""
        test = self.as_condition(test, "'if'")
        pair = [first, second]
        if not all(value.kind in ("condition", "truth") for value in pair):
            pair = [self.as_float(value) for value in pair]
        if test.register in self.constants:
            return pair[0] if self.constants[test.register] else pair[1]
        if test.kind == "truth" and all(value.kind in ("number", "truth") for value in pair):
            return self.emit("where", [test, *[self.as_float(value) for value in pair]], "number")
        if test.kind == "truth":
            self.refuse("this condition compares settings alone; write two terms and give one the weight 0")
        if all(value.kind == "truth" for value in pair):
            pair = [self.as_float(value) for value in pair]
        is_condition = all(value.kind in ("condition", "truth") for value in pair)
        if is_condition and any(value.kind == "truth" for value in pair):
            self.refuse("one of the two compares settings alone; write 1.0 or 0.0")
        return self.emit("where", [test, *pair], "condition" if is_condition else "float")

    def call(self, node: ast.Call) -> Value:
        """An operation of the table, called by its bare name."""
        name = self.operation_name(node)
        operation = OPERATIONS[name]
        if name in ("max", "min") and len(node.args) == 2 and not node.keywords:
            name = f"{name}imum"
            operation = OPERATIONS[name]
        values = self.arguments(node, name, operation)
        self.line = node.lineno
        if operation.gives == "choice":
            test, first, second = values
            assert test is not None and first is not None and second is not None
            return self.choice(test, first, second)
        pairs = list(zip(operation.names, values, strict=True))
        inputs = [
            self.column(None)
            if value is None
            else self.as_condition(value, name)
            if role == "condition"
            else self.as_float(value)
            for role, value in pairs
        ]
        known = [value for (_, given), value in zip(pairs, inputs, strict=True) if given is not None]
        if all(value.kind in ("number", "truth") for value in known):
            if operation.on_numbers is None:
                self.refuse(f"{name} needs a signal, or what was computed from one, not a plain number")
            return self.emit(name, inputs, "truth" if operation.gives == "condition" else "number")
        if name == "float":
            return inputs[0]
        return self.emit(name, inputs, "condition" if operation.gives == "condition" else "float")

    def operation_name(self, node: ast.Call) -> str:
        """What is called; whatever is not in the table is refused."""
        if isinstance(node.func, ast.Attribute):
            self.refuse(strange(node.func))
        if not isinstance(node.func, ast.Name):
            self.refuse("only operations can be called, by their bare names")
        name = node.func.id
        if name in self.terms:
            self.refuse(f"a term cannot call another ('{name}'); write out what it computes")
        if name not in OPERATIONS:
            advice = HABITS.get(name) or did_you_mean(name, OPERATIONS)
            self.refuse(f"there is no operation '{name}'; {advice}")
        return name

    def arguments(self, node: ast.Call, name: str, operation: Operation) -> list[Value | None]:
        """What is given for each parameter of the operation; None where nothing is."""
        usage = f"{name}({', '.join(operation.names)})"
        given: list[Value | None] = [None] * len(operation.parameters)
        if len(node.args) > len(given):
            self.refuse(f"write {usage}; {name} takes no more than that")
        for place, argument in enumerate(node.args):
            if isinstance(argument, ast.Starred):
                self.refuse("'*' cannot stand here; name each argument")
            given[place] = self.expression(argument)
        for keyword in node.keywords:
            self.line = node.lineno
            if keyword.arg in ("dim", "axis", "keepdim", "keepdims", "p", "ord"):
                self.refuse(
                    f"write {usage}, without {keyword.arg}: it is always over the vector of each environment, and "
                    "gives one number for each"
                )
            if keyword.arg not in operation.names or given[operation.names.index(keyword.arg)] is not None:
                self.refuse(f"{name} takes no '{keyword.arg or '**'}' here; write {usage}")
            given[operation.names.index(keyword.arg)] = self.expression(keyword.value)
        missing = [n for n, value in zip(operation.names[: operation.least], given, strict=False) if value is None]
        if missing:
            self.refuse(f"{name} needs {missing[0]}; write {usage}")
        return given

    def subscript(self, node: ast.Subscript) -> Value:
        """`velocity[:, 2]` and `velocity[:, :2]`: parts of the vector of every environment."""
        usage = "write x[:, 0] for the first number of every environment's vector, or x[:, :2] for the first two"
        value = self.expression(node.value)
        self.line = node.lineno
        index = node.slice
        if not isinstance(index, ast.Tuple) or len(index.elts) != 2 or not _is_everything(index.elts[0]):
            self.refuse(f"environments cannot be picked; {usage}")
        if value.kind in ("number", "truth"):
            self.refuse("a plain number has no parts")
        last = index.elts[1]
        if isinstance(last, ast.Slice):
            if last.step is not None:
                self.refuse(f"steps are not known here; {usage}")
            ends = [None if end is None else self.place(end, usage) for end in (last.lower, last.upper)]
            return self.emit("part", [value, self.column(ends[0] or 0), self.column(ends[1])], value.kind)
        return self.emit("column", [value, self.column(self.place(last, usage))], value.kind)

    def place(self, node: ast.expr, usage: str) -> int:
        """A whole number that is written out."""
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_COLUMNS:
            self.refuse(f"a place in a vector is a whole number from 0 on, written out; {usage}")
        return value


def common(values: list[Value]) -> Kind:
    """What arithmetic on these gives."""
    return "number" if all(value.kind == "number" for value in values) else "float"


def truth(values: list[Value]) -> Kind:
    """What a comparison or a logical operation on these gives."""
    return "truth" if all(value.kind in ("number", "truth") for value in values) else "condition"


def _is_everything(node: ast.expr) -> bool:
    """`:` or `...`."""
    if isinstance(node, ast.Slice):
        return node.lower is None and node.upper is None and node.step is None
    return isinstance(node, ast.Constant) and node.value is Ellipsis
