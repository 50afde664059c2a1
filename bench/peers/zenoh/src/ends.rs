//! The two ends of a run.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::anyhow;
use transports::host::Host;
use transports::source::{Due, Source};
use zenoh::Wait;
use zenoh::qos::{CongestionControl, Reliability};

use crate::args::{LoadArgs, ServeArgs};

const KEY: &str = "plant/t1";

#[expect(clippy::print_stdout, reason = "the summary is the result")]
pub(crate) fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let name = format!("zenoh-{:?}", args.way.link).to_lowercase();
    let (host, inlet) = Host::start(&name, args.tick_hz, !args.unplaced, args.report.as_deref())?;
    let session = args.way.open("listen/endpoints")?;
    // Zenoh may call back from several of its threads.
    let inlet = Mutex::new(inlet);
    let subscriber = session
        .declare_subscriber(KEY)
        .callback(move |sample| {
            let mut inlet = inlet.lock().expect("no other callback has panicked");
            if !inlet.accept(&sample.payload().to_bytes()) {
                eprintln!("zenoh-peer: a payload holds something else than records");
            }
        })
        .wait()
        .map_err(|error| anyhow!("{error}"))?;
    eprintln!("listening {}", args.way.addr);
    let summary = host.run(args.duration_s.map(Duration::from_secs))?;
    drop(subscriber);
    println!("{}", serde_json::to_string(&summary)?);
    // Zenoh's own threads are in no hurry to end.
    std::process::exit(0)
}

pub(crate) fn load(args: &LoadArgs) -> anyhow::Result<()> {
    netloop::sharpen_timers();
    let session = args.way.open("connect/endpoints")?;
    let reliable = args.way.is_reliable();
    let publisher = session
        .declare_publisher(KEY)
        .reliability(if reliable { Reliability::Reliable } else { Reliability::BestEffort })
        .congestion_control(if reliable {
            CongestionControl::Block
        } else {
            CongestionControl::Drop
        })
        .wait()
        .map_err(|error| anyhow!("{error}"))?;
    while !publisher.matching_status().wait().map_err(|error| anyhow!("{error}"))?.matching() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut source = Source::begin(&args.shape);
    let mut payload = Vec::with_capacity(source.payload_max());
    loop {
        match source.poll(&mut payload) {
            Due::Payload => {
                publisher.put(payload.as_slice()).wait().map_err(|error| anyhow!("{error}"))?;
            }
            Due::Later => source.rest(),
            Due::Over => break,
        }
    }
    // What waits in Zenoh's queues leaves before its session closes.
    std::thread::sleep(Duration::from_millis(500));
    session.close().wait().map_err(|error| anyhow!("{error}"))?;
    Ok(source.report(&args.shape)?)
}
