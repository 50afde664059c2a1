//! Random operations on a world and on a naive model of it, compared after every few steps. A failure prints the seed
//! that repeats it.

mod model;

use model::{Choices, Run};

/// Prints the seed when a step panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed of the failed run: {}", self.0);
        }
    }
}

#[test]
fn world_matches_the_model_through_random_operations() {
    const RUNS: u64 = 24;
    const STEPS: usize = 600;
    for run in 0..RUNS {
        let seed = Seed(0x706f_6c6c_7578 + run);
        let mut run = Run::new(Choices::of_seed(seed.0));
        for step in 0..STEPS {
            run.step();
            if step % 16 == 15 {
                run.check();
            }
        }
        assert!(run.world.archetypes().len() >= 10, "the run met too few archetypes to mean much");
        assert!(run.names.len() > run.model.len(), "the run despawned nobody");
    }
}
