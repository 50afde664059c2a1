//! A signal that comes before the cold thread listens. It is raised in this process, which is why the test is alone here.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::UNIX_EPOCH;

use signal_hook::{consts::SIGTERM, low_level::raise};
use twin::cold::{Cold, Ended};
use twin::http::Surface;
use twin::interval::exchange;
use twin::report::{Report, Usage};
use twin::stats::TwinStats;

#[test]
fn signal_before_the_run_ends_it_in_order() {
    let report = Report::create(None, UNIX_EPOCH).unwrap();
    let surface = Surface::new(Arc::new(TwinStats::new(1)), report, || 0);
    let (_producer, consumer, _) = exchange(0);
    let stop = Arc::new(AtomicBool::new(false));
    let mut cold = Cold::new(surface, vec![consumer], stop, Usage::default);
    cold.heed_signals().unwrap();
    raise(SIGTERM).unwrap();
    assert_eq!(cold.run(None, None, &mut |_| ControlFlow::Continue(())).unwrap(), Ended::Signal);
}
