//! A world beside a naive model of it, driven by a source of choices: a seed in tests, bytes when fuzzing.
//!
//! The model is a map from name to components with one set of changed names; it knows nothing of rows, columns,
//! archetypes or edges, which is where the world can go wrong.

use std::collections::{BTreeMap, BTreeSet};

use bytemuck::{Pod, Zeroable};
use ecs::{
    Changed, Component, Cursor, Entity, Location, NoSuchEntity, Progress, Query, Snapshot, Track,
    Tracked, With, Without, World, WorldHash,
};

macro_rules! component {
    ($name:ident($value:ty), $id:literal, $track:expr) => {
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
        struct $name($value);
        impl Component for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            const TRACK: Track = $track;
        }
    };
}

component!(Wide([u8; 20]), 100, Track::Column);
component!(Heat(u64), 3, Track::Rows);
component!(Mean(f32), 64, Track::Rows);

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Tag;
impl Component for Tag {
    const ID: u16 = 7;
    const NAME: &'static str = "Tag";
}

/// What the model remembers of an entity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Carried {
    wide: Option<[u8; 20]>,
    heat: Option<u64>,
    mean: Option<f32>,
    tag: bool,
}

/// Where choices come from: a list of bytes first, then SplitMix64, which is short, seedable and the same everywhere.
pub(crate) struct Choices {
    bytes: Vec<u8>,
    seed: u64,
}

impl Choices {
    /// Choices that a seed repeats.
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self { bytes: Vec::new(), seed }
    }

    /// Choices out of bytes.
    #[allow(dead_code, reason = "used where the model is fuzzed")]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.iter().rev().copied().collect(), seed: 0 }
    }

    /// Whether bytes are left.
    #[allow(dead_code, reason = "used where the model is fuzzed")]
    pub(crate) fn has_bytes(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn next(&mut self) -> u64 {
        if let Some(byte) = self.bytes.pop() {
            return u64::from(byte);
        }
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn wide(&mut self) -> [u8; 20] {
        [self.next() as u8; 20]
    }

    fn mean(&mut self) -> f32 {
        self.below(1_000) as f32
    }
}

type BothChanged = (Changed<Heat>, Changed<Mean>);

pub(crate) struct Run {
    pub(crate) random: Choices,
    pub(crate) world: World,
    pub(crate) model: BTreeMap<Entity, Carried>,
    heat_changed: BTreeSet<Entity>,
    mean_changed: BTreeSet<Entity>,
    cursor: Cursor<Heat>,
    /// What the cursor has to show at its next visit.
    cursor_waits: BTreeSet<Entity>,
    reserved: Vec<Entity>,
    snapshot: Snapshot,
    /// Taken a little at a time, while the world goes on.
    sliced: Snapshot,
    hash: WorldHash,
    /// Every name ever given out, so that dead ones are tried too.
    pub(crate) names: Vec<Entity>,
    heat_of_changed: Query<(&'static Heat, Entity), BothChanged>,
    heats: Query<(Tracked<Heat>, Option<&'static mut Wide>), Without<Tag>>,
    means: Query<(Tracked<Mean>, Entity), With<Tag>>,
}

impl Run {
    pub(crate) fn new(random: Choices) -> Self {
        let mut world = World::new();
        Self {
            random,
            cursor: world.add_cursor(),
            world,
            cursor_waits: BTreeSet::new(),
            reserved: Vec::new(),
            snapshot: Snapshot::default(),
            sliced: Snapshot::default(),
            hash: WorldHash::default(),
            model: BTreeMap::new(),
            heat_changed: BTreeSet::new(),
            mean_changed: BTreeSet::new(),
            names: Vec::new(),
            heat_of_changed: Query::new(),
            heats: Query::new(),
            means: Query::new(),
        }
    }

    pub(crate) fn step(&mut self) {
        match self.random.below(27) {
            0 => self.spawn_one(),
            1 => self.spawn_batch(),
            2..=4 => self.despawn(),
            5..=8 => self.insert(),
            9..=11 => self.remove(),
            12 => self.write_component(),
            13 => self.walk(),
            14 => self.view(),
            15 | 16 => self.defer(),
            17 => self.reserve(),
            18 => self.spawn_columns(),
            19 => self.drain_cursor(),
            20 => self.restore(),
            21..=24 => self.poll(),
            _ => self.drain(),
        }
    }

    fn any_name(&mut self) -> Entity {
        match self.names.len() {
            0 => Entity::from_bits(self.random.next() % 8),
            len => self.names[self.random.below(len)],
        }
    }

    fn learn(&mut self, entity: Entity, carried: Carried) {
        self.names.push(entity);
        assert!(self.model.insert(entity, carried).is_none(), "a living name was given out twice");
        self.heat_changed.extend(carried.heat.map(|_| entity));
        self.mean_changed.extend(carried.mean.map(|_| entity));
    }

    fn spawn_one(&mut self) {
        let (wide, heat, mean) = (self.random.wide(), self.random.next(), self.random.mean());
        let mut carried = Carried { heat: Some(heat), ..Carried::default() };
        let entity = match self.random.below(4) {
            0 => self.world.spawn((Heat(heat),)),
            1 => {
                carried.tag = true;
                self.world.spawn((Tag, Heat(heat)))
            }
            2 => {
                carried.mean = Some(mean);
                self.world.spawn((Mean(mean), Heat(heat)))
            }
            _ => {
                (carried.wide, carried.mean, carried.tag) = (Some(wide), Some(mean), true);
                self.world.spawn((Mean(mean), Tag, Wide(wide), Heat(heat)))
            }
        };
        self.learn(entity, carried);
    }

    fn spawn_batch(&mut self) {
        let bundles: Vec<(Wide, Mean)> = (0..self.random.below(40))
            .map(|_| (Wide(self.random.wide()), Mean(self.random.mean())))
            .collect();
        // Half of the batches do not tell their length.
        let honest = self.random.below(2) == 0;
        let spawned = if honest {
            self.world.spawn_batch(bundles.iter().copied())
        } else {
            self.world.spawn_batch(bundles.iter().copied().filter(|_| true))
        };
        let archetype = &self.world.archetypes()[spawned.archetype as usize];
        let rows = spawned.rows.start as usize..spawned.rows.end as usize;
        let entities = archetype.entities()[rows].to_vec();
        assert_eq!(entities.len(), bundles.len());
        for (entity, (wide, mean)) in entities.into_iter().zip(bundles) {
            let carried = Carried { wide: Some(wide.0), mean: Some(mean.0), ..Carried::default() };
            self.learn(entity, carried);
        }
    }

    fn despawn(&mut self) {
        let entity = self.any_name();
        let reserved = self.reserved.contains(&entity).then_some(());
        let expected = self.model.remove(&entity).map(|_| ()).or(reserved).ok_or(NoSuchEntity);
        assert_eq!(self.world.despawn(entity), expected);
        self.heat_changed.remove(&entity);
        self.cursor_waits.remove(&entity);
        self.mean_changed.remove(&entity);
        self.reserved.retain(|&name| name != entity);
    }

    fn insert(&mut self) {
        let entity = self.any_name();
        let (wide, heat, mean) = (self.random.wide(), self.random.next(), self.random.mean());
        let choice = self.random.below(4);
        let done = match choice {
            0 => self.world.insert(entity, (Tag,)),
            1 => self.world.insert(entity, (Heat(heat),)),
            2 => self.world.insert(entity, (Wide(wide), Mean(mean))),
            _ => self.world.insert(entity, (Mean(mean), Heat(heat), Tag)),
        };
        let Some(carried) = self.model.get_mut(&entity) else {
            return assert_eq!(done, Err(NoSuchEntity));
        };
        assert_eq!(done, Ok(()));
        if matches!(choice, 0 | 3) {
            carried.tag = true;
        }
        if matches!(choice, 1 | 3) {
            carried.heat = Some(heat);
            self.heat_changed.insert(entity);
        }
        if matches!(choice, 2 | 3) {
            carried.mean = Some(mean);
            self.mean_changed.insert(entity);
        }
        if choice == 2 {
            carried.wide = Some(wide);
        }
    }

    fn remove(&mut self) {
        let entity = self.any_name();
        let mut nobody = Carried::default();
        let carried = self.model.get_mut(&entity).unwrap_or(&mut nobody);
        match self.random.below(4) {
            0 => {
                let tag = std::mem::take(&mut carried.tag);
                assert_eq!(self.world.remove::<Tag>(entity), tag.then_some(Tag));
            }
            1 => {
                assert_eq!(self.world.remove::<Heat>(entity), carried.heat.take().map(Heat));
                self.heat_changed.remove(&entity);
                self.cursor_waits.remove(&entity);
            }
            2 => {
                assert_eq!(self.world.remove::<Mean>(entity), carried.mean.take().map(Mean));
                self.mean_changed.remove(&entity);
            }
            _ => assert_eq!(self.world.remove::<Wide>(entity), carried.wide.take().map(Wide)),
        }
    }

    fn write_component(&mut self) {
        let entity = self.any_name();
        let value = self.random.next();
        let found = self.world.component_mut::<Heat>(entity).map(|heat| heat.0 = value);
        let expected = self.model.get_mut(&entity).and_then(|carried| carried.heat.as_mut());
        assert_eq!(found.is_some(), expected.is_some());
        if let Some(heat) = expected {
            *heat = value;
            self.heat_changed.insert(entity);
        }
    }

    /// Writes the odd heats of entities without the tag, and the wide value of all of these.
    fn walk(&mut self) {
        self.heats.each(&mut self.world, |(mut heat, wide)| {
            if heat.0 % 2 == 1 {
                heat.0 /= 2;
            }
            if let Some(wide) = wide {
                wide.0[19] = wide.0[19].wrapping_add(1);
            }
        });
        for (&entity, carried) in self.model.iter_mut().filter(|(_, carried)| !carried.tag) {
            let Some(heat) = &mut carried.heat else { continue };
            if *heat % 2 == 1 {
                *heat /= 2;
                self.heat_changed.insert(entity);
            }
            if let Some(wide) = &mut carried.wide {
                wide[19] = wide[19].wrapping_add(1);
            }
        }
    }

    fn view(&mut self) {
        for _ in 0..4 {
            let (entity, value) = (self.any_name(), self.random.mean());
            let mut view = self.means.view(&mut self.world);
            let found = view.entity(entity).map(|(mut mean, name)| {
                mean.0 = value;
                name
            });
            let expected = self.model.get_mut(&entity).filter(|carried| carried.tag);
            let expected = expected.and_then(|carried| carried.mean.as_mut());
            assert_eq!(found, expected.is_some().then_some(entity));
            if let Some(mean) = expected {
                *mean = value;
                self.mean_changed.insert(entity);
            }
        }
    }

    fn drain(&mut self) {
        let mut locations = Vec::new();
        self.world.drain_changed::<Heat>(|location| locations.push(location));
        assert!(locations.is_sorted_by_key(|location| (location.archetype, location.row)));
        let archetypes = self.world.archetypes();
        let drained: BTreeSet<Entity> = locations
            .iter()
            .map(|at| archetypes[at.archetype as usize].entities()[at.row as usize])
            .collect();
        assert_eq!(drained.len(), locations.len());
        assert_eq!(drained, std::mem::take(&mut self.heat_changed));
        self.cursor_waits.extend(drained);
    }

    fn drain_cursor(&mut self) {
        let mut seen = BTreeMap::new();
        self.world.drain_cursor(&self.cursor, |entity, heat| {
            assert!(seen.insert(entity, heat.0).is_none(), "{entity:?} was shown twice");
        });
        let waits = std::mem::take(&mut self.cursor_waits).into_iter();
        let expected = waits.map(|entity| (entity, self.model[&entity].heat.expect("heat")));
        assert!(seen.into_iter().eq(expected));
    }

    /// Gives commands to any name and to some that the commands spawn.
    fn defer(&mut self) {
        if self.names.is_empty() {
            return;
        }
        let (gone, dressed) = (self.any_name(), self.any_name());
        let (wide, heat) = (self.random.wide(), self.random.next());
        let count = self.random.below(4);
        let (spawned, last) = self.world.defer(|part| {
            part.commands.despawn(gone);
            let spawned: Vec<Entity> =
                (0..count).map(|_| part.commands.spawn((Wide(wide), Heat(heat)))).collect();
            part.commands.insert(dressed, (Tag,));
            let last = spawned.last().copied();
            if let Some(last) = last {
                part.commands.remove::<Wide>(last);
            }
            (spawned, last)
        });
        self.model.remove(&gone);
        self.heat_changed.remove(&gone);
        self.cursor_waits.remove(&gone);
        self.mean_changed.remove(&gone);
        self.reserved.retain(|&name| name != gone);
        for entity in spawned {
            let wide = (Some(entity) != last).then_some(wide);
            self.learn(entity, Carried { wide, heat: Some(heat), ..Carried::default() });
        }
        if let Some(carried) = self.model.get_mut(&dressed) {
            carried.tag = true;
        }
    }

    /// Reserves a name, or brings the entity of one to life.
    fn reserve(&mut self) {
        let (pick, heat) = (self.random.below(3), self.random.next());
        if pick == 0 || self.reserved.is_empty() {
            let name = self.world.reserve_entity();
            assert!(!self.model.contains_key(&name), "a living name was reserved");
            self.reserved.push(name);
            return self.names.push(name);
        }
        let name = self.reserved.remove(self.random.below(self.reserved.len()));
        assert_eq!(self.world.spawn_reserved(name, (Heat(heat), Tag)), Ok(()));
        assert_eq!(self.world.spawn_reserved(name, (Heat(heat),)), Err(NoSuchEntity));
        self.names.retain(|&known| known != name);
        self.learn(name, Carried { heat: Some(heat), tag: true, ..Carried::default() });
    }

    fn spawn_columns(&mut self) {
        let heats: Vec<Heat> =
            (0..self.random.below(20)).map(|_| Heat(self.random.next())).collect();
        let tags = vec![Tag; heats.len()];
        let spawned = self.world.spawn_columns::<(Tag, Heat)>((&tags, &heats));
        let archetype = &self.world.archetypes()[spawned.archetype as usize];
        let rows = spawned.rows.start as usize..spawned.rows.end as usize;
        let entities = archetype.entities()[rows].to_vec();
        for (entity, heat) in entities.into_iter().zip(heats) {
            let carried = Carried { heat: Some(heat.0), tag: true, ..Carried::default() };
            self.learn(entity, carried);
        }
    }

    /// Takes a snapshot and puts it back into the same world: nothing but the bits may change.
    fn restore(&mut self) {
        let before = self.hash.of(&self.world);
        let bytes = self.snapshot.take(&self.world);
        assert_eq!(self.world.restore(bytes), Ok(()));
        assert_eq!(self.hash.of(&self.world), before);
        assert_eq!(WorldHash::default().of(&self.world), before);
        self.heat_changed.clear();
        self.mean_changed.clear();
        self.cursor_waits.clear();
        for (&entity, carried) in &self.model {
            self.heat_changed.extend(carried.heat.map(|_| entity));
            self.mean_changed.extend(carried.mean.map(|_| entity));
        }
    }

    /// Makes an archetype that nobody is in, if it is not there.
    fn make_archetype(&mut self) {
        match self.random.below(6) {
            0 => self.world.reserve::<(Wide,)>(1),
            1 => self.world.reserve::<(Wide, Tag)>(1),
            2 => self.world.reserve::<(Wide, Heat, Tag)>(1),
            3 => self.world.reserve::<(Mean,)>(1),
            4 => self.world.reserve::<(Mean, Tag)>(1),
            _ => self.world.reserve::<(Wide, Mean, Heat)>(1),
        }
    }

    /// Takes some slices of a snapshot, between which nobody comes, goes or moves.
    fn poll(&mut self) {
        for _ in 0..4 {
            if self.sliced.poll(&self.world, 1 + self.random.below(8_000)) == Progress::Done {
                self.check_sliced();
            }
            match self.random.below(3) {
                0 => self.make_archetype(),
                1 => self.write_component(),
                _ => self.drain(),
            }
        }
    }

    /// A whole snapshot has each name where it stands here.
    fn check_sliced(&mut self) {
        let mut other = World::new();
        other.register::<(Wide, Heat, Mean, Tag)>();
        assert_eq!(other.restore(self.sliced.bytes().expect("a snapshot that is done")), Ok(()));
        assert_eq!(other.len(), self.model.len());
        for &name in &self.names {
            assert_eq!(other.location(name), self.world.location(name));
        }
    }

    pub(crate) fn check(&mut self) {
        assert_eq!(self.world.len(), self.model.len());
        for &entity in &self.names {
            let expected = self.model.get(&entity).copied();
            assert_eq!(self.world.contains(entity), expected.is_some());
            assert_eq!(self.carried(entity), expected.unwrap_or_default());
        }
        let mut rows = 0;
        for (index, archetype) in self.world.archetypes().iter().enumerate() {
            rows += archetype.len();
            for (row, &entity) in archetype.entities().iter().enumerate() {
                let here = Location { archetype: index as u32, row: row as u32 };
                assert_eq!(self.world.location(entity), Some(here));
            }
            for column in archetype.columns() {
                assert_eq!(column.bytes().len(), archetype.len() * column.row_bytes());
                let changed = match column.id() {
                    Heat::ID => &self.heat_changed,
                    Mean::ID => &self.mean_changed,
                    _ => continue,
                };
                let dirty = column.dirty().expect("bits because both are under Track::Rows");
                assert!(dirty.rows().all(|row| row < archetype.len()), "a bit beyond the rows");
                for (row, entity) in archetype.entities().iter().enumerate() {
                    assert_eq!(dirty.contains(row), changed.contains(entity), "{entity:?}");
                }
            }
        }
        assert_eq!(rows, self.model.len());
        self.check_changed();
    }

    fn check_changed(&mut self) {
        let mut found = BTreeMap::new();
        self.heat_of_changed.each(&mut self.world, |(heat, entity)| {
            assert!(found.insert(entity, heat.0).is_none());
        });
        let both = self.heat_changed.intersection(&self.mean_changed);
        let expected: BTreeMap<Entity, u64> =
            both.filter_map(|&entity| Some((entity, self.model[&entity].heat?))).collect();
        assert_eq!(found, expected);
    }

    fn carried(&self, entity: Entity) -> Carried {
        Carried {
            wide: self.world.component::<Wide>(entity).map(|wide| wide.0),
            heat: self.world.component::<Heat>(entity).map(|heat| heat.0),
            mean: self.world.component::<Mean>(entity).map(|mean| mean.0),
            tag: self.world.has::<Tag>(entity),
        }
    }
}
