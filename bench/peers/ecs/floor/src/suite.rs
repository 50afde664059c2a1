//! The suite over vectors.

use std::hint::black_box;

use bench_harness::suite::{
    Body, ENTITIES, ENTITIES_PER_LETTER, HEAVY_ENTITIES, LETTERS, SAVED_ENTITIES, advance_all,
    body, compute, digest_body, double_all, order,
};
use bench_harness::{Case, Digest, Library, Scale, case};

pub(crate) fn with_cases(library: Library) -> Library {
    library
        .with("simple_insert_batch", insert_batch)
        .with("simple_insert", insert)
        .with("simple_iter", iterate)
        .with("fragmented_iter", iterate_fragments)
        .with("heavy_compute", heavy)
        .with("schedule", schedule)
        .with("add_remove", add_remove)
        .with("random_get", random_get)
        .with("churn", churn)
        .with("serialise", serialise)
        .with("restore", restore)
        .with("empty_system", empty_system)
}

#[derive(Default)]
struct Bodies {
    transforms: Vec<[f32; 16]>,
    positions: Vec<[f32; 3]>,
    rotations: Vec<[f32; 3]>,
    velocities: Vec<[f32; 3]>,
}

impl Bodies {
    fn batch(count: usize) -> Self {
        Self {
            transforms: (0..count).map(|n| body(n).0).collect(),
            positions: (0..count).map(|n| body(n).1).collect(),
            rotations: (0..count).map(|n| body(n).2).collect(),
            velocities: (0..count).map(|n| body(n).3).collect(),
        }
    }

    fn push(&mut self, (transform, position, rotation, velocity): Body) {
        self.transforms.push(transform);
        self.positions.push(position);
        self.rotations.push(rotation);
        self.velocities.push(velocity);
    }

    fn swap_remove(&mut self, row: usize) {
        self.transforms.swap_remove(row);
        self.positions.swap_remove(row);
        self.rotations.swap_remove(row);
        self.velocities.swap_remove(row);
    }

    fn digest(&self) -> u64 {
        let mut digest = Digest::new();
        for row in 0..self.positions.len() {
            let Self { transforms, positions, rotations, velocities } = self;
            digest_body(
                &mut digest,
                &transforms[row],
                &positions[row],
                &rotations[row],
                &velocities[row],
            );
        }
        digest.finish()
    }
}

fn insert_batch(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    case(Bodies::default(), move |bodies| *bodies = Bodies::batch(count), |bodies| bodies.digest())
}

fn insert(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    case(
        Bodies::default(),
        move |bodies| {
            *bodies = Bodies::default();
            (0..count).for_each(|n| bodies.push(body(n)));
        },
        |bodies| bodies.digest(),
    )
}

fn iterate(scale: Scale) -> Box<dyn Case> {
    case(
        Bodies::batch(scale.of(ENTITIES)),
        |Bodies { positions, velocities, .. }| {
            advance_all(positions, velocities);
        },
        |bodies| bodies.digest(),
    )
}

fn iterate_fragments(_: Scale) -> Box<dyn Case> {
    let fragments = vec![vec![1.0_f32; ENTITIES_PER_LETTER]; LETTERS];
    case(
        fragments,
        |fragments| fragments.iter_mut().for_each(|data| double_all(data)),
        |fragments| {
            let mut digest = Digest::new();
            fragments.iter().flatten().for_each(|data| digest.add_f32(&[&[*data]]));
            digest.finish()
        },
    )
}

fn heavy(scale: Scale) -> Box<dyn Case> {
    case(
        Bodies::batch(scale.of(HEAVY_ENTITIES)),
        |Bodies { transforms, positions, .. }| {
            transforms.iter_mut().zip(positions).for_each(|(t, p)| compute(t, p));
        },
        |bodies| bodies.digest(),
    )
}

/// The four archetypes of the schedule: what each entity carries, column by column.
struct Groups([Vec<Vec<f32>>; 4]);

fn schedule(scale: Scale) -> Box<dyn Case> {
    let column = |first: f32| (0..scale.of(ENTITIES)).map(|n| first + n as f32).collect::<Vec<_>>();
    let [a, b, c, d, e] = [0.0, 0.25, 0.5, 0.75, 0.125].map(column);
    let groups = Groups([
        vec![a.clone(), b.clone()],
        vec![a.clone(), b.clone(), c.clone()],
        vec![a.clone(), b.clone(), c.clone(), d],
        vec![a, b, c, e],
    ]);
    case(
        groups,
        |Groups(groups)| {
            let swap = |columns: &mut [Vec<f32>]| {
                let [left, right] = columns else { unreachable!("two columns") };
                left.swap_with_slice(right);
            };
            groups.iter_mut().for_each(|group| swap(&mut group[0..2]));
            swap(&mut groups[2][2..4]);
            swap(&mut groups[3][2..4]);
        },
        |Groups(groups)| {
            let mut digest = Digest::new();
            for group in groups {
                for row in 0..group[0].len() {
                    digest.add(group.iter().map(|column| u64::from(column[row].to_bits())));
                }
            }
            digest.finish()
        },
    )
}

/// Entities with A, or with A and B, and where each stands.
struct Moving {
    with_a: (Vec<u32>, Vec<f32>),
    with_ab: (Vec<u32>, Vec<f32>, Vec<f32>),
    rows: Vec<u32>,
}

impl Moving {
    fn add(&mut self) {
        let Self { with_a, with_ab, rows } = self;
        for entity in 0..rows.len() as u32 {
            let row = rows[entity as usize] as usize;
            with_a.0.swap_remove(row);
            let a = with_a.1.swap_remove(row);
            if let Some(&moved) = with_a.0.get(row) {
                rows[moved as usize] = row as u32;
            }
            rows[entity as usize] = with_ab.0.len() as u32;
            with_ab.0.push(entity);
            with_ab.1.push(a);
            with_ab.2.push(entity as f32);
        }
    }

    fn remove(&mut self) {
        let Self { with_a, with_ab, rows } = self;
        for entity in 0..rows.len() as u32 {
            let row = rows[entity as usize] as usize;
            with_ab.0.swap_remove(row);
            let a = with_ab.1.swap_remove(row);
            with_ab.2.swap_remove(row);
            if let Some(&moved) = with_ab.0.get(row) {
                rows[moved as usize] = row as u32;
            }
            rows[entity as usize] = with_a.0.len() as u32;
            with_a.0.push(entity);
            with_a.1.push(a);
        }
    }
}

fn add_remove(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES) as u32;
    let moving = Moving {
        with_a: ((0..count).collect(), (0..count).map(|n| n as f32).collect()),
        with_ab: Default::default(),
        rows: (0..count).collect(),
    };
    case(
        moving,
        |moving| {
            moving.add();
            black_box(&mut *moving);
            moving.remove();
        },
        |moving| {
            let mut digest = Digest::new();
            moving.with_a.1.iter().for_each(|a| digest.add_f32(&[&[*a]]));
            moving.add();
            moving.with_ab.1.iter().zip(&moving.with_ab.2).for_each(|(a, b)| {
                digest.add_f32(&[&[*a, *b]]);
            });
            moving.remove();
            digest.finish()
        },
    )
}

fn random_get(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let rows: Vec<u32> = (0..count as u32).collect();
    case(
        (Bodies::batch(count), rows, order(count)),
        |(bodies, rows, order)| {
            for &entity in &*order {
                bodies.positions[rows[entity as usize] as usize][0] += 1.0;
            }
        },
        |(bodies, ..)| bodies.digest(),
    )
}

/// Names of entities: the generation of a slot, and the row behind it.
#[derive(Default)]
struct Churning {
    bodies: Bodies,
    slots_of_rows: Vec<u32>,
    slots: Vec<(u32, u32)>,
    free: Vec<u32>,
    names: Vec<(u32, u32)>,
    order: Vec<u32>,
    spawned: usize,
}

impl Churning {
    fn spawn(&mut self) -> (u32, u32) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, 0));
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize].1 = self.slots_of_rows.len() as u32;
        self.slots_of_rows.push(slot);
        self.bodies.push(body(self.spawned));
        self.spawned += 1;
        (slot, self.slots[slot as usize].0)
    }

    fn despawn(&mut self, (slot, generation): (u32, u32)) {
        let (current, row) = &mut self.slots[slot as usize];
        assert_eq!(*current, generation, "a living entity");
        *current += 1;
        let row = *row;
        self.free.push(slot);
        self.slots_of_rows.swap_remove(row as usize);
        self.bodies.swap_remove(row as usize);
        if let Some(&moved) = self.slots_of_rows.get(row as usize) {
            self.slots[moved as usize].1 = row;
        }
    }
}

fn churn(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut churning = Churning { order: order(count), ..Default::default() };
    churning.names = (0..count).map(|_| churning.spawn()).collect();
    case(
        churning,
        |churning| {
            for place in 0..churning.order.len() {
                let name = churning.order[place] as usize;
                churning.despawn(churning.names[name]);
                churning.names[name] = churning.spawn();
            }
        },
        |churning| churning.bodies.digest(),
    )
}

fn save(bodies: &Bodies, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend_from_slice(&(bodies.positions.len() as u64).to_le_bytes());
    bytes.extend_from_slice(bytemuck::cast_slice(&bodies.transforms));
    bytes.extend_from_slice(bytemuck::cast_slice(&bodies.positions));
    bytes.extend_from_slice(bytemuck::cast_slice(&bodies.rotations));
    bytes.extend_from_slice(bytemuck::cast_slice(&bodies.velocities));
}

fn load(bytes: &[u8]) -> Bodies {
    let (count, mut rest) = bytes.split_first_chunk().expect("the count that save wrote first");
    let count = u64::from_le_bytes(*count) as usize;
    Bodies {
        transforms: load_column(&mut rest, count),
        positions: load_column(&mut rest, count),
        rotations: load_column(&mut rest, count),
        velocities: load_column(&mut rest, count),
    }
}

fn load_column<T: bytemuck::Pod>(rest: &mut &[u8], count: usize) -> Vec<T> {
    let (column, tail) = rest.split_at(count * size_of::<T>());
    *rest = tail;
    bytemuck::allocation::pod_collect_to_vec(column)
}

fn serialise(scale: Scale) -> Box<dyn Case> {
    case(
        (Bodies::batch(scale.of(SAVED_ENTITIES)), Vec::new()),
        |(bodies, bytes)| save(bodies, bytes),
        |(_, bytes)| load(bytes).digest(),
    )
}

fn restore(scale: Scale) -> Box<dyn Case> {
    let mut bytes = Vec::new();
    save(&Bodies::batch(scale.of(SAVED_ENTITIES)), &mut bytes);
    case(
        (Bodies::default(), bytes),
        |(bodies, bytes)| *bodies = load(bytes),
        |(bodies, _)| bodies.digest(),
    )
}

fn empty_system(_: Scale) -> Box<dyn Case> {
    type System = Box<dyn FnMut(&mut u64)>;
    let systems: Vec<System> = vec![Box::new(|_: &mut u64| {})];
    case(
        (black_box(systems), 0),
        |(systems, state)| systems.iter_mut().for_each(|system| system(state)),
        |_| 0,
    )
}
