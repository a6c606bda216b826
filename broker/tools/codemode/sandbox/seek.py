"""A string sought within another, sixteen places at a time.

QuickJS compares at each place, character by character, through two calls for each: `includes` and `indexOf` spend most
of the time of a search over texts there. `seek` is put before those loops: it moves the place where they begin on to
the first one where they will find what they seek, or to the last one there is. They still look for themselves.
"""

from typing import Final

import wasmtime as wt

from broker.tools.codemode.sandbox.functions import Function, Functions
from broker.tools.codemode.sandbox.wasm import CALL, CannotShape, unsigned

_SEEK: Final = """(module (memory 1) (func
 (param $in i32) (param $what i32) (param $from i32) (param $length i32) (param $last i32) (result i32)
 (local $base i32) (local $sought i32) (local $at i32) (local $stop i32) (local $tail i32)
 (local $first v128) (local $final v128) (local $mask i32) (local $here i32) (local $k i32)
 ;; A string object: flags and length at 4, its kind above. Strings of two bytes a character are left to QuickJS.
 (if (i32.or (i32.lt_s (i32.load offset=4 (local.get $in)) (i32.const 0))
             (i32.or (i32.lt_s (i32.load offset=4 (local.get $what)) (i32.const 0))
                     (i32.or (i32.lt_s (local.get $length) (i32.const 1))
                             (i32.lt_s (local.get $last) (local.get $from)))))
  (then (return (local.get $from))))
 ;; Where the characters are: behind the object, in a parent, or elsewhere.
 (block $known (block $other (block $slice (block $plain
    (br_table $plain $slice $other $other
     (i32.and (i32.shr_u (i32.load offset=8 (local.get $in)) (i32.const 28)) (i32.const 3))))
   (local.set $base (i32.add (local.get $in) (i32.const 28))) (br $known))
  (local.set $base (i32.add (i32.const 28)
   (i32.add (i32.load offset=28 (local.get $in)) (i32.load offset=32 (local.get $in))))) (br $known))
  (return (local.get $from)))
 (block $ready (block $unknown (block $parent (block $own
    (br_table $own $parent $unknown $unknown
     (i32.and (i32.shr_u (i32.load offset=8 (local.get $what)) (i32.const 28)) (i32.const 3))))
   (local.set $sought (i32.add (local.get $what) (i32.const 28))) (br $ready))
  (local.set $sought (i32.add (i32.const 28)
   (i32.add (i32.load offset=28 (local.get $what)) (i32.load offset=32 (local.get $what))))) (br $ready))
  (return (local.get $from)))
 (local.set $tail (i32.sub (local.get $length) (i32.const 1)))
 (local.set $at (i32.add (local.get $base) (local.get $from)))
 (local.set $stop (i32.add (local.get $base) (local.get $last)))
 (local.set $first (i8x16.splat (i32.load8_u (local.get $sought))))
 (local.set $final (i8x16.splat (i32.load8_u (i32.add (local.get $sought) (local.get $tail)))))
 ;; Sixteen places whose first and last character are right. What is read ends within the string: at most at
 ;; $stop + $tail, its last character.
 (block $few (loop $sixteen
   (br_if $few (i32.gt_u (i32.add (local.get $at) (i32.const 15)) (local.get $stop)))
   (local.set $mask (i8x16.bitmask (v128.and
    (i8x16.eq (v128.load align=1 (local.get $at)) (local.get $first))
    (i8x16.eq (v128.load align=1 (i32.add (local.get $at) (local.get $tail))) (local.get $final)))))
   (block $none (loop $each
     (br_if $none (i32.eqz (local.get $mask)))
     (local.set $here (i32.add (local.get $at) (i32.ctz (local.get $mask))))
     (local.set $mask (i32.and (local.get $mask) (i32.sub (local.get $mask) (i32.const 1))))
     (local.set $k (i32.const 1))
     (loop $same
      (if (i32.ge_u (local.get $k) (local.get $tail)) (then (return (i32.sub (local.get $here) (local.get $base)))))
      (if (i32.eq (i32.load8_u (i32.add (local.get $here) (local.get $k)))
                  (i32.load8_u (i32.add (local.get $sought) (local.get $k))))
       (then (local.set $k (i32.add (local.get $k) (i32.const 1))) (br $same))))
     (br $each)))
   (local.set $at (i32.add (local.get $at) (i32.const 16)))
   (br $sixteen)))
 ;; The rest by one: only where the first character is right.
 (loop $one
  (if (i32.ge_u (local.get $at) (local.get $stop)) (then (return (local.get $last))))
  (if (i32.eq (i32.load8_u (local.get $at)) (i32.load8_u (local.get $sought)))
   (then (local.set $k (i32.const 1))
    (loop $same
     (if (i32.ge_u (local.get $k) (local.get $length)) (then (return (i32.sub (local.get $at) (local.get $base)))))
     (if (i32.eq (i32.load8_u (i32.add (local.get $at) (local.get $k)))
                 (i32.load8_u (i32.add (local.get $sought) (local.get $k))))
      (then (local.set $k (i32.add (local.get $k) (i32.const 1))) (br $same))))))
  (local.set $at (i32.add (local.get $at) (i32.const 1)))
  (br $one))
 (unreachable)))"""

_GET, _SET, _ONE = b"\x20", b"\x21", b"\x41\x01"
_PLACES: Final = (
    # `includes`, `startsWith`, `endsWith`: in 7, what 10, from 3, length 2, the place behind the last one 4.
    (1610, b"\x41\x01\x6a\x21\x04", b"\x20\x07\x20\x0a\x20\x03\x20\x02\x20\x04\x41\x01\x6b", 3, None),
    # `indexOf`, `lastIndexOf`: in 10, what 8, from 3, length 9, last 4; forwards where 13 is 1.
    (1608, b"\x41\x00\x48\x0d\x00", b"\x20\x0a\x20\x08\x20\x03\x20\x09\x20\x04", 3, 13),
    # what `split` and `replaceAll` use: in 0, what 1, from 2, length 3, last 5.
    (1614, b"\x21\x06\x02\x40", b"\x20\x00\x20\x01\x20\x02\x20\x03\x20\x05", 2, None),
)
"""Function, what stands before its loop, what pushes the arguments, the local of the place, and, where there is one,
the local that is 1 when it goes forwards."""
_LOOP: Final = b"\x03\x40"


def add_seek(functions: Functions) -> None:
    """Puts `seek` before the loops that seek. Raises CannotShape where they are not where they should be."""
    seek = functions.add(Functions(bytes(wt.wat2wasm(_SEEK)))[0])
    for index, before, arguments, place, forwards in _PLACES:
        function = functions[index]
        if function.code.count(before + _LOOP) != 1:
            raise CannotShape(f"function {index} is not the one that seeks")
        sought = arguments + bytes([CALL]) + unsigned(seek) + _SET + unsigned(place)
        if forwards is not None:
            sought = _GET + unsigned(forwards) + _ONE + b"\x46\x04\x40" + sought + b"\x0b"  # if it is 1
        code = function.code.replace(before + _LOOP, before + sought + _LOOP)
        functions[index] = Function(function.parameters, function.results, function.locals, code)
