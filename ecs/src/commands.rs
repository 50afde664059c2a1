//! Deferred changes: what a system asks for while rows are being walked, done when its stage has ended.
//!
//! Commands of a stage are applied system by system in the order of registration, and each system's in the order in which
//! it gave them; which thread was done first plays no part. A spawned entity has its name at once: the names that the world
//! would give out next are dealt to the systems of a stage in turn. A command for an entity that is gone by then is
//! skipped and counted, in [`World::skipped_commands`].

use crate::bundle::Bundle;
use crate::component::Component;
use crate::entity::{Entities, Entity};
use crate::world::{NoSuchEntity, World};

/// Where a system puts its commands.
pub struct Commands<'w> {
    entities: &'w Entities,
    buffer: &'w mut CommandBuffer,
}

/// The commands of one system. Values lie in one run of bytes, so that a buffer which has grown once allocates no more.
pub(crate) struct CommandBuffer {
    commands: Vec<Command>,
    bytes: Vec<u8>,
    spawned: usize,
    /// This buffer's turn among those that names are dealt to.
    turn: usize,
    turns: usize,
}

struct Command {
    entity: Entity,
    /// Where its value begins.
    start: usize,
    apply: Apply,
}

/// What a command does to an entity of the world, by its value.
type Apply = fn(&mut World, Entity, &[u8]) -> Result<(), NoSuchEntity>;

impl<'w> Commands<'w> {
    #[inline]
    pub(crate) fn new(entities: &'w Entities, buffer: &'w mut CommandBuffer) -> Self {
        Self { entities, buffer }
    }

    /// Adds an entity with the components of `bundle`. Its name is good at once, and belongs to nobody until then.
    pub fn spawn<B: Bundle>(&mut self, bundle: B) -> Entity {
        let buffer = &mut *self.buffer;
        let entity = self.entities.upcoming(buffer.turn + buffer.spawned * buffer.turns);
        buffer.spawned += 1;
        self.buffer.push(entity, bundle, |world, entity, bytes| {
            world.spawn_reserved(entity, B::decode(bytes))
        });
        entity
    }

    /// Removes `entity` with all its components; also one that was spawned by a command before this.
    pub fn despawn(&mut self, entity: Entity) {
        self.buffer.push_plain(entity, |world, entity, _| world.despawn(entity));
    }

    /// Gives `entity` the components of `bundle`; those that it has already are overwritten.
    pub fn insert<B: Bundle>(&mut self, entity: Entity, bundle: B) {
        self.buffer
            .push(entity, bundle, |world, entity, bytes| world.insert(entity, B::decode(bytes)));
    }

    /// Takes component `T` from `entity`, if it has it.
    pub fn remove<T: Component>(&mut self, entity: Entity) {
        self.buffer.push_plain(entity, |world, entity, _| {
            world.remove::<T>(entity);
            world.contains(entity).then_some(()).ok_or(NoSuchEntity)
        });
    }
}

/// Of a system that is alone in its stage.
impl Default for CommandBuffer {
    fn default() -> Self {
        Self::of_turn(0, 1)
    }
}

impl CommandBuffer {
    /// A buffer whose system is number `turn` of `turns` in its stage.
    pub(crate) fn of_turn(turn: usize, turns: usize) -> Self {
        Self { commands: Vec::new(), bytes: Vec::new(), spawned: 0, turn, turns }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// How many systems of its stage come before its own.
    pub(crate) const fn turn(&self) -> usize {
        self.turn
    }

    /// Whether its system is the last one of its stage.
    #[inline]
    pub(crate) fn is_last(&self) -> bool {
        self.turn + 1 == self.turns
    }

    fn push<B: Bundle>(&mut self, entity: Entity, bundle: B, apply: Apply) {
        self.push_plain(entity, apply);
        bundle.encode(&mut self.bytes);
    }

    fn push_plain(&mut self, entity: Entity, apply: Apply) {
        self.commands.push(Command { entity, start: self.bytes.len(), apply });
    }

    /// Applies and empties it, after its names were reserved.
    fn apply(&mut self, world: &mut World) {
        for command in &self.commands {
            let done = (command.apply)(world, command.entity, &self.bytes[command.start..]);
            world.skipped_commands += u64::from(done.is_err());
        }
        self.clear();
    }

    /// Forgets all commands. The memory stays.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.commands.clear();
        self.bytes.clear();
        self.spawned = 0;
    }
}

impl AsMut<Self> for CommandBuffer {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// Applies the buffers of one stage in the order of their turns.
#[cold]
pub(crate) fn apply_stage(world: &mut World, stage: &mut [impl AsMut<CommandBuffer>]) {
    let turns = stage.len();
    let names = stage.iter_mut().map(|buffer| buffer.as_mut().spawned).max().unwrap_or(0) * turns;
    world.reserve_upcoming(names, |position| {
        position / turns < stage[position % turns].as_mut().spawned
    });
    stage.iter_mut().for_each(|buffer| buffer.as_mut().apply(world));
}
