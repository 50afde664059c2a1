//! Data and arithmetic of the cases that the community's ecs_bench_suite knows, and of random access and churn.

use bytemuck::Pod;

use crate::Digest;
use crate::key::shuffled;

/// Entities of most cases.
pub const ENTITIES: usize = 10_000;
/// Entities of the heavy computation.
pub const HEAVY_ENTITIES: usize = 1_000;
/// Entities that are serialised and restored.
pub const SAVED_ENTITIES: usize = 1_000;
/// Archetypes of the fragmented iteration, one for each [`suite_components`](crate::suite_components) `Letter`.
pub const LETTERS: usize = 26;
/// Entities of each of these archetypes.
pub const ENTITIES_PER_LETTER: usize = 20;
/// Inversions of each matrix in one run of the heavy computation.
const INVERSIONS: usize = 100;

/// Defines the components in the crate of an adapter, with the attributes given in brackets: traits cannot be implemented
/// for types of another crate.
#[macro_export]
macro_rules! suite_components {
    ($attributes:tt) => {
        $crate::suite_components!(@each $attributes
            Transform([f32; 16]), Position([f32; 3]), Rotation([f32; 3]), Velocity([f32; 3]),
            A(f32), B(f32), C(f32), D(f32), E(f32), Data(f32));

        $crate::suite_components!(@letter $attributes);
    };
    (@each $attributes:tt $($name:ident($value:ty)),+) => {
        $($crate::suite_components!(@one $attributes $name($value));)+
    };
    (@one [$($attribute:tt)*] $name:ident($value:ty)) => {
        $($attribute)*
        #[repr(transparent)]
        pub struct $name(pub $value);
    };
    (@letter [$($attribute:tt)*]) => {
        $($attribute)*
        #[repr(transparent)]
        pub struct Letter<const N: usize>(pub f32);
    };
}

/// Calls a macro with each letter's number, for code that needs them as constants.
#[macro_export]
macro_rules! for_letters {
    ($call:ident) => {
        $call!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25)
    };
}

/// A matrix, and three vectors: position, rotation, velocity. 100 bytes.
pub type Body = ([f32; 16], [f32; 3], [f32; 3], [f32; 3]);

/// Cosine and sine of 1.2: the matrix of a body turns by that angle, so that its inverse stays of its size.
const COS: f32 = 0.362_357_75;
const SIN: f32 = 0.932_039_1;
const TRANSFORM: [f32; 16] =
    [1.0, 0.0, 0.0, 0.0, 0.0, COS, SIN, 0.0, 0.0, -SIN, COS, 0.0, 0.0, 0.0, 0.0, 1.0];

/// The body number `n`.
#[must_use]
#[inline]
pub fn body(n: usize) -> Body {
    (TRANSFORM, [n as f32, 1.0, 2.0], [0.5, n as f32, 0.25], [1.0, 0.5, 0.25])
}

/// Adds a body to a digest.
pub fn digest_body(
    digest: &mut Digest,
    transform: &[f32; 16],
    position: &[f32; 3],
    rotation: &[f32; 3],
    velocity: &[f32; 3],
) {
    digest.add_f32(&[transform, position, rotation, velocity]);
}

/// One step of a position, for libraries that give out one row at a time.
#[inline(always)]
pub fn advance(position: &mut [f32; 3], velocity: &[f32; 3]) {
    for (position, velocity) in position.iter_mut().zip(velocity) {
        *position += velocity;
    }
}

/// One step of many positions, for libraries that give out slices.
#[inline]
pub fn advance_all<P: Pod, V: Pod>(positions: &mut [P], velocities: &[V]) {
    let positions: &mut [f32] = bytemuck::cast_slice_mut(positions);
    let velocities: &[f32] = bytemuck::cast_slice(velocities);
    positions.iter_mut().zip(velocities).for_each(|(position, velocity)| *position += velocity);
}

/// Doubles many values, for libraries that give out slices. Tables are short here: what the longest vectors leave over is
/// one block of half their length, and then single values. A loop that counts its blocks down is not unrolled, which pays
/// only for long tables.
#[inline]
pub fn double_all<D: Pod>(values: &mut [D]) {
    let values: &mut [f32] = bytemuck::cast_slice_mut(values);
    let (mut long, rest) = values.as_chunks_mut::<8>();
    while let Some((block, tail)) = long.split_first_mut() {
        *block = block.map(|value| value * 2.0);
        long = tail;
    }
    let (short, rest) = rest.as_chunks_mut::<4>();
    if let Some(block) = short.first_mut() {
        *block = block.map(|value| value * 2.0);
    }
    rest.iter_mut().for_each(|value| *value *= 2.0);
}

/// Inverts the matrix many times, and moves the position by it. Compiled once, so that all libraries run the same
/// instructions and differ in how they come to the row.
#[inline(never)]
pub fn compute(transform: &mut [f32; 16], position: &mut [f32; 3]) {
    for _ in 0..INVERSIONS {
        *transform = inverse(transform);
    }
    *position = transformed(transform, position);
}

/// Numbers below `count` in a random order that is always the same.
#[must_use]
pub fn order(count: usize) -> Vec<u32> {
    shuffled(count)
}

/// The matrix times a vector; matrices are stored by column.
fn transformed(m: &[f32; 16], v: &[f32; 3]) -> [f32; 3] {
    std::array::from_fn(|row| m[row] * v[0] + m[4 + row] * v[1] + m[8 + row] * v[2])
}

/// The inverse by cofactors, built from the twelve determinants of two rows in the left and the right half.
#[inline]
fn inverse(m: &[f32; 16]) -> [f32; 16] {
    let minor = |column: usize, a: usize, b: usize| {
        m[column * 4 + a] * m[(column + 1) * 4 + b] - m[column * 4 + b] * m[(column + 1) * 4 + a]
    };
    let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    let s = pairs.map(|(a, b)| minor(0, a, b));
    let c = pairs.map(|(a, b)| minor(2, a, b));
    let determinant =
        s[0] * c[5] - s[1] * c[4] + s[2] * c[3] + s[3] * c[2] - s[4] * c[1] + s[5] * c[0];
    let scale = 1.0 / determinant;
    [
        (m[5] * c[5] - m[6] * c[4] + m[7] * c[3]) * scale,
        (-m[1] * c[5] + m[2] * c[4] - m[3] * c[3]) * scale,
        (m[13] * s[5] - m[14] * s[4] + m[15] * s[3]) * scale,
        (-m[9] * s[5] + m[10] * s[4] - m[11] * s[3]) * scale,
        (-m[4] * c[5] + m[6] * c[2] - m[7] * c[1]) * scale,
        (m[0] * c[5] - m[2] * c[2] + m[3] * c[1]) * scale,
        (-m[12] * s[5] + m[14] * s[2] - m[15] * s[1]) * scale,
        (m[8] * s[5] - m[10] * s[2] + m[11] * s[1]) * scale,
        (m[4] * c[4] - m[5] * c[2] + m[7] * c[0]) * scale,
        (-m[0] * c[4] + m[1] * c[2] - m[3] * c[0]) * scale,
        (m[12] * s[4] - m[13] * s[2] + m[15] * s[0]) * scale,
        (-m[8] * s[4] + m[9] * s[2] - m[11] * s[0]) * scale,
        (-m[4] * c[3] + m[5] * c[1] - m[6] * c[0]) * scale,
        (m[0] * c[3] - m[1] * c[1] + m[2] * c[0]) * scale,
        (-m[12] * s[3] + m[13] * s[1] - m[14] * s[0]) * scale,
        (m[8] * s[3] - m[9] * s[1] + m[10] * s[0]) * scale,
    ]
}

#[cfg(test)]
mod tests {
    use super::inverse;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let m: [f32; 16] =
            [2.0, 0.5, 1.0, 0.0, -1.0, 3.0, 0.25, 1.0, 0.5, 0.5, 4.0, 2.0, 1.0, 0.0, -2.0, 5.0];
        let inverse = inverse(&m);
        for column in 0..4 {
            for row in 0..4 {
                let sum: f32 = (0..4).map(|k| m[k * 4 + row] * inverse[column * 4 + k]).sum();
                let one = if row == column { 1.0 } else { 0.0 };
                assert!((sum - one).abs() < 1e-5, "{row}, {column}: {sum}");
            }
        }
    }
}
