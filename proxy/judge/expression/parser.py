"""From words to the tree: precedence as in Python, nesting bounded."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from proxy.judge.expression import tree
from proxy.judge.expression.faults import UnreadableExpression
from proxy.judge.expression.lexer import Piece, Word, read_pieces

MAX_DEPTH: Final = 32
"""How deep parts may nest, macros included."""

_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
_ARITHMETIC: Final = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2}
"""Signs and how tightly they bind."""


def parse(source: str) -> tree.ExpressionNode:
    """The tree of an expression. Raises `UnreadableExpression`."""
    return _Parser(source).whole()


class _Parser:
    """Reads words from left to right; `_level` counts the parts that are open."""

    def __init__(self, source: str) -> None:
        self._pieces = read_pieces(source)
        self._at = 0
        self._next = self._pieces[0]
        self._level = 0

    def whole(self) -> tree.ExpressionNode:
        """The expression up to the end of the text."""
        if self._ended():
            raise self._fault(self._next, "there is nothing here", "write a condition, such as op.value > 1 ETH")
        node = self._either()
        if not self._ended():
            raise self._unexpected("the end, and, or")
        return node

    def _ended(self) -> bool:
        return self._next.word is Word.END

    def _take(self) -> Piece:
        piece = self._next
        if piece.word is not Word.END:
            self._go_to(self._at + 1)
        return piece

    def _go_to(self, at: int) -> None:
        self._at = at
        self._next = self._pieces[at]

    def _sees(self, text: str) -> bool:
        return self._next.text == text and (self._next.word is Word.SIGN or self._next.word is Word.KEYWORD)

    def _skip(self, text: str) -> bool:
        if not self._sees(text):
            return False
        self._go_to(self._at + 1)
        return True

    def _expect(self, text: str) -> Piece:
        if not self._sees(text):
            raise self._unexpected(text)
        return self._take()

    def _fault(self, piece: Piece, problem: str, suggestion: str | None = None) -> UnreadableExpression:
        return UnreadableExpression(piece.offset, piece.end - piece.offset, problem, suggestion)

    def _unexpected(self, wanted: str) -> UnreadableExpression:
        piece = self._next
        shown = "the expression ends here" if piece.word is Word.END else f"{ascii(piece.text)[1:-1]} is out of place"
        return self._fault(piece, shown, f"wanted {wanted}")

    def _enter(self) -> None:
        # every way down passes here, so that no text can exhaust the stack
        self._level += 1
        if self._level > MAX_DEPTH:
            raise self._fault(self._next, f"this nests deeper than {MAX_DEPTH}", "give a part of it a name as a macro")

    def _depth(self, *parts: tree.ExpressionNode) -> int:
        depth = 1 + max(part.depth for part in parts)
        if depth > MAX_DEPTH:
            last = parts[-1]
            raise UnreadableExpression(last.offset, last.end - last.offset, f"this nests deeper than {MAX_DEPTH}")
        return depth

    def _either(self) -> tree.ExpressionNode:
        self._enter()
        parts = [self._both()]
        while self._skip("or"):
            parts.append(self._both())
        self._level -= 1
        return self._joined(parts, disjunction=True)

    def _both(self) -> tree.ExpressionNode:
        parts = [self._negated()]
        while self._skip("and"):
            parts.append(self._negated())
        return self._joined(parts, disjunction=False)

    def _joined(self, parts: list[tree.ExpressionNode], *, disjunction: bool) -> tree.ExpressionNode:
        if len(parts) == 1:
            return parts[0]
        return tree.Every(
            parts=tuple(parts),
            disjunction=disjunction,
            offset=parts[0].offset,
            end=parts[-1].end,
            depth=self._depth(*parts),
        )

    def _negated(self) -> tree.ExpressionNode:
        if not self._sees("not"):
            return self._comparison()
        self._enter()
        start = self._take()
        part = self._negated()
        self._level -= 1
        return tree.Not(part=part, offset=start.offset, end=part.end, depth=self._depth(part))

    def _comparison(self) -> tree.ExpressionNode:
        left = self._sum(1)
        sign = self._comparison_sign()
        if sign is None:
            return left
        right = self._sum(1)
        again = self._next
        if self._comparison_sign() is not None:
            raise self._fault(again, "one comparison holds two things", "write a < b and b < c")
        return tree.Comparison(
            sign=sign, left=left, right=right, offset=left.offset, end=right.end, depth=self._depth(left, right)
        )

    def _comparison_sign(self) -> str | None:
        piece = self._next
        if piece.word is Word.SIGN and piece.text in _COMPARISONS:
            return self._take().text
        if self._skip("in"):
            return "in"
        if self._skip("not"):
            self._expect("in")
            return "not in"
        return None

    def _sum(self, tightness: int) -> tree.ExpressionNode:
        left = self._signed()
        while self._next.word is Word.SIGN and _ARITHMETIC.get(self._next.text, 0) >= tightness:
            sign = self._take().text
            right = self._sum(_ARITHMETIC[sign] + 1)
            left = tree.Arithmetic(
                sign=sign, left=left, right=right, offset=left.offset, end=right.end, depth=self._depth(left, right)
            )
        return left

    def _signed(self) -> tree.ExpressionNode:
        if not self._sees("-"):
            return self._atom()
        self._enter()
        start = self._take()
        part = self._signed()
        self._level -= 1
        return tree.Negative(part=part, offset=start.offset, end=part.end, depth=self._depth(part))

    def _atom(self) -> tree.ExpressionNode:
        piece = self._take()
        match piece.word:
            case Word.NUMBER:
                return self._number(piece)
            case Word.BYTES:
                return tree.Constant(value=bytes.fromhex(piece.text[2:]), offset=piece.offset, end=piece.end)
            case Word.TEXT:
                return tree.Constant(value=piece.text, offset=piece.offset, end=piece.end)
            case Word.KEYWORD if piece.text in _CONSTANTS:
                return tree.Constant(value=_CONSTANTS[piece.text], offset=piece.offset, end=piece.end)
            case Word.LIST:
                return tree.ListName(name=piece.text, offset=piece.offset, end=piece.end)
            case Word.NAME:
                return self._named(piece)
            case Word.SIGN if piece.text == "(":
                inner = self._either()
                self._expect(")")
                return self._without_index(inner)
            case Word.SIGN if piece.text == "[":
                return self._list(piece)
            case _:
                self._go_to(self._at - (piece.word is not Word.END))
                raise self._unexpected("a field, a number, a text or (")

    def _number(self, piece: Piece) -> tree.ExpressionNode:
        text = piece.text.replace("_", "")
        digits, unit, end = Fraction(text if "." in text else int(text)), None, piece.end
        if self._next.word in (Word.NAME, Word.TEXT):
            named = self._take()
            unit, end = named.text, named.end
            if named.word is Word.NAME:
                unit, end = self._dotted(unit, end)
        return tree.Number(digits=digits, unit=unit, offset=piece.offset, end=end)

    def _dotted(self, name: str, end: int) -> tuple[str, int]:
        # symbols such as USDC.e
        while self._skip("."):
            if self._next.word is not Word.NAME:
                raise self._unexpected("a name")
            piece = self._take()
            name, end = f"{name}.{piece.text}", piece.end
        return name, end

    def _named(self, piece: Piece) -> tree.ExpressionNode:
        if self._sees("("):
            return self._call(piece)
        if not self._skip("."):
            return self._without_index(tree.Name(name=piece.text, offset=piece.offset, end=piece.end))
        name, end = self._dotted_field()
        if self._sees("("):
            raise self._fault(self._next, f"{piece.text}.{name} is no function", "fields are not called")
        return self._without_index(tree.Attribute(base=piece.text, name=name, offset=piece.offset, end=end))

    def _dotted_field(self) -> tuple[str, int]:
        if self._next.word not in (Word.NAME, Word.KEYWORD):
            raise self._unexpected("the name of a field")
        piece = self._take()
        return self._dotted(piece.text, piece.end)

    def _without_index(self, node: tree.ExpressionNode) -> tree.ExpressionNode:
        if self._sees("["):
            raise self._fault(self._next, "parts of a list have no number", "ask any(… for c in op.calls)")
        if self._sees("."):
            raise self._fault(self._next, "only names have fields")
        return node

    def _list(self, start: Piece) -> tree.ExpressionNode:
        items = []
        while not self._sees("]"):
            items.append(self._either())
            if not self._skip(","):
                break
        end = self._expect("]").end
        if not items:
            raise UnreadableExpression(start.offset, end - start.offset, "this list is empty: nothing is ever in it")
        return tree.ListOf(items=tuple(items), offset=start.offset, end=end, depth=self._depth(*items))

    def _call(self, name: Piece) -> tree.ExpressionNode:
        self._expect("(")
        arguments = []
        while not self._sees(")"):
            arguments.append(self._either())
            if len(arguments) == 1 and self._sees("for"):
                return self._quantifier(name, arguments[0])
            if not self._skip(","):
                break
        end = self._expect(")").end
        depth = self._depth(*arguments) if arguments else 1
        return tree.FunctionCall(
            function=name.text, arguments=tuple(arguments), offset=name.offset, end=end, depth=depth
        )

    def _quantifier(self, name: Piece, part: tree.ExpressionNode) -> tree.ExpressionNode:
        self._expect("for")
        if self._next.word is not Word.NAME:
            raise self._unexpected("a name for each part, such as c")
        variable = self._take()
        self._expect("in")
        over = self._sum(1)
        condition = self._either() if self._skip("if") else None
        end = self._expect(")").end
        inside = (part, over) if condition is None else (part, over, condition)
        return tree.Quantifier(
            function=name.text,
            part=part,
            variable=variable.text,
            variable_offset=variable.offset,
            over=over,
            condition=condition,
            offset=name.offset,
            end=end,
            depth=self._depth(*inside),
        )


_CONSTANTS: Final = {"true": True, "false": False, "none": None}
