//! Archetype tables of component columns, and queries that walk them linearly.
