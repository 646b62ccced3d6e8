"""Explicit float32 vectors for Numba: the few operations that the GRU kernel is made of.

Why: left to the compiler, plain loops over the batch ran 2.5 to 3 times slower than loops over a vector type.
Memory is named by an address in bytes (as from `Tensor.data_ptr()`) and an index in floats. Nothing here is
bounds-checked; callers own the sizes.

COLUMNS  floats in one vector register: a `narrow` vector.
WIDTH    floats in a `wide` vector, two registers: six of them as accumulators, one as operand and a broadcast weight
         fill AVX2's sixteen registers. (With four registers a vector one accumulator is spilled: half the speed.)
LANES    windows of the batch in one block: two wide vectors, so that weights are read half as often.
"""

# mypy: ignore-errors
# (Numba calls these functions otherwise than they are declared, and types its own code.)
from __future__ import annotations

import operator

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

_FEATURES = llvmlite.binding.get_host_cpu_features()
_IS_X86 = llvmlite.binding.get_default_triple().startswith(("x86_64", "i686", "amd64"))
COLUMNS = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx2") else 4
WIDTH = 2 * COLUMNS
LANES = 2 * WIDTH

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)


class _VectorType(types.Type):
    def __init__(self, lanes: int) -> None:
        super().__init__(name=f"float32x{lanes}")
        self.lanes = lanes


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type) -> None:
        super().__init__(manager, fe_type, ir.VectorType(_FLOAT, fe_type.lanes))


_WIDE, _NARROW = _VectorType(WIDTH), _VectorType(COLUMNS)


# -- building blocks in LLVM's own language ------------------------------------------------------------------
def _constant(value, lanes: int, element=_FLOAT):
    value = int(value) if element is _INT else float(np.float32(value))
    return ir.Constant(ir.VectorType(element, lanes), [value] * lanes)


def _shuffle(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT, len(order)), list(order)))


def _spread(builder, scalar, lanes: int):
    vector = ir.VectorType(_FLOAT, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_INT, 0))
    return _shuffle(builder, one, ir.Constant(vector, ir.Undefined), [0] * lanes)


def _pointer(builder, address, index, element=_FLOAT):
    place = builder.gep(builder.inttoptr(address, _FLOAT.as_pointer()), [index])
    return place if element is _FLOAT else builder.bitcast(place, element.as_pointer())


def _fma(builder, a, b, c):
    kind = a.type
    name = "llvm.fma.f32" if kind is _FLOAT else f"llvm.fma.v{kind.count}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [a, b, c])


# -- memory --------------------------------------------------------------------------------------------------
def _load_as(result):
    @intrinsic
    def load_vector(typing, address, index):
        def generate(context, builder, signature, args):
            value = builder.load(_pointer(builder, *args, context.get_value_type(result)))
            value.align = 4
            return value

        return result(types.intp, types.intp), generate

    return load_vector


def _broadcast_as(result):
    @intrinsic
    def broadcast_scalar(typing, address, index):
        def generate(context, builder, signature, args):
            return _spread(builder, builder.load(_pointer(builder, *args)), result.lanes)

        return result(types.intp, types.intp), generate

    return broadcast_scalar


load, load_narrow = _load_as(_WIDE), _load_as(_NARROW)  # (address, index) -> vector
broadcast, broadcast_narrow = _broadcast_as(_WIDE), _broadcast_as(_NARROW)  # one float in every lane
load_scalar = _load_as(types.float32)


@intrinsic
def store(typing, address, index, value):
    """Store a vector of either width, or a float."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _pointer(builder, args[0], args[1], args[2].type), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, value), generate


@intrinsic
def transpose_tile(typing, source, source_stride, target, target_stride):
    """Transpose COLUMNS x COLUMNS floats from address `source` to `target`; strides between rows, in floats."""

    def generate(context, builder, signature, args):
        vector = ir.VectorType(_FLOAT, COLUMNS)

        def row(address, stride, i):
            return _pointer(builder, address, builder.mul(stride, ir.Constant(stride.type, i)), vector)

        rows = [builder.load(row(args[0], args[1], i)) for i in range(COLUMNS)]
        for value in rows:
            value.align = 4
        bit = 1
        while bit < COLUMNS:  # swap the off-diagonal blocks of size 1, 2, 4, ...
            for i in (i for i in range(COLUMNS) if not i & bit):
                top, bottom = rows[i], rows[i | bit]
                pick = range(COLUMNS)
                rows[i] = _shuffle(builder, top, bottom, [COLUMNS + (e ^ bit) if e & bit else e for e in pick])
                rows[i | bit] = _shuffle(builder, top, bottom, [COLUMNS + e if e & bit else e | bit for e in pick])
            bit *= 2
        for i, value in enumerate(rows):
            builder.store(value, row(args[2], args[3], i), align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


# -- arithmetic ----------------------------------------------------------------------------------------------
@intrinsic
def fma(typing, a, b, c):
    """a * b + c, rounded once."""

    def generate(context, builder, signature, args):
        return _fma(builder, *args)

    return a(a, a, a), generate


def _operator(instruction: str, symbol) -> None:
    @intrinsic
    def apply(typing, a, b):
        def generate(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return a(a, a), generate

    @overload(symbol)
    def choose(a, b):
        if isinstance(a, _VectorType) and a == b:
            return lambda a, b: apply(a, b)


_OPERATORS = {"fadd": operator.add, "fsub": operator.sub, "fmul": operator.mul, "fdiv": operator.truediv}
for _instruction, _symbol in _OPERATORS.items():
    _operator(_instruction, _symbol)

# 2^f on [-0.5, 0.5]: least-maximum fit with the constant held at 1 (tanh(0) is 0), relative error 9.1e-08
_EXP2 = (1.32647271e-03, 9.67151264e-03, 5.55073374e-02, 2.40222421e-01, 6.93146978e-01, 1.0)
_ROUND = 1.5 * 2.0**23  # adding this leaves the nearest integer in the low mantissa bits


@intrinsic
def exp(typing, x):
    """e to the x, for x clamped to +-87 (as float32 would over- or underflow); NaN stays NaN.

    e^x = 2^n * 2^f with n the integer next to x*log2(e): a polynomial for 2^f, n added to the exponent bits.
    """

    def generate(context, builder, signature, args):
        def real(value):
            return _constant(value, x.lanes)

        value = args[0]
        low, high = real(-87.0), real(87.0)
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
        shifted = _fma(builder, value, real(1.44269504), real(_ROUND))
        whole = builder.fsub(shifted, real(_ROUND))
        part = _fma(builder, value, real(1.44269504), builder.fneg(whole))
        power = real(_EXP2[0])
        for coefficient in _EXP2[1:]:
            power = _fma(builder, power, part, real(coefficient))
        integer = ir.VectorType(_INT, x.lanes)
        exponent = builder.shl(builder.bitcast(shifted, integer), _constant(23, x.lanes, _INT))
        return builder.bitcast(builder.add(builder.bitcast(power, integer), exponent), power.type)

    return x(x), generate


def _always(value: float):
    @intrinsic
    def constant(typing):
        def generate(context, builder, signature, args):
            return _constant(value, WIDTH)

        return _WIDE(), generate

    return constant


zero, one, two = _always(0.0), _always(1.0), _always(2.0)  # wide
inline = njit(forceinline=True)  # a call that is not inlined passes vectors through memory


@inline
def sigmoid(x):
    return one() / (one() + exp(zero() - x))


@inline
def tanh(x):
    return one() - two() / (one() + exp(x + x))


@intrinsic
def total(typing, x):
    """Sum of a vector's lanes, in a fixed order (pairwise halves)."""

    def generate(context, builder, signature, args):
        value, lanes = args[0], x.lanes
        while lanes > 1:
            lanes //= 2
            low = _shuffle(builder, value, value, range(lanes))
            value = builder.fadd(low, _shuffle(builder, value, value, range(lanes, 2 * lanes)))
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float32(x), generate


@intrinsic
def any_nonzero(typing, x):
    """Whether a lane is not zero (NaN counts as not zero; a denormal as zero where denormals are flushed)."""

    def generate(context, builder, signature, args):
        value = args[0]
        different = builder.fcmp_unordered("!=", value, _constant(0.0, x.lanes))
        bits = builder.bitcast(different, ir.IntType(x.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(x), generate


# -- denormals -----------------------------------------------------------------------------------------------
def _control_word(builder, name: str, place) -> None:
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, ir.IntType(8).as_pointer())])


@intrinsic
def flush_denormals(typing):
    """This thread computes with denormals as zero from here; returns the former state for `restore_denormals`.

    x86 only, where denormal arithmetic is some 100 times slower; elsewhere it does nothing.
    """

    def generate(context, builder, signature, args):
        if not _IS_X86:
            return ir.Constant(_INT, 0)
        place = cgutils.alloca_once(builder, _INT)
        _control_word(builder, "stmxcsr", place)
        former = builder.load(place)
        builder.store(builder.or_(former, ir.Constant(_INT, 0x8040)), place)  # flush to zero, denormals are zero
        _control_word(builder, "ldmxcsr", place)
        return former

    return types.int32(), generate


@intrinsic
def restore_denormals(typing, former):
    def generate(context, builder, signature, args):
        if _IS_X86:
            place = cgutils.alloca_once(builder, _INT)
            builder.store(args[0], place)
            _control_word(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), generate
