//! Frames of the field, read back as a page reads them: whole ones and changes lead to the same sensors as the mirror.

mod rig;

use bytes::Bytes;
use rig::{Random, Rig, options, record};
use twin::http::field::{HEADER_BYTES, LATE_MS, delta, since, whole};
use twin::mirror::Mirror;
use twin::picture::{PictureConsumer, pictures};
use twin::world::Watch;
use wire::Tier;

const SENSORS: u32 = 500;

/// What a page holds of each sensor: type, value, level; and when its value was sent, if it has one.
#[derive(Debug, Default, PartialEq)]
struct Page {
    sensors: Vec<(u8, f32, u32)>,
    at_ms: f64,
    sent_ms: Vec<Option<f64>>,
    frames: [usize; 2],
}

impl Page {
    /// Takes a frame in, by the table at the head of `twin/src/http/field.rs`.
    fn apply(&mut self, frame: &Bytes) {
        let word = |at: usize| u32::from_le_bytes(*frame[at..].first_chunk().expect("a word"));
        assert_eq!(&frame[..4], b"PXF1");
        let (is_whole, is_list) = (word(4) & 1 == 1, word(4) & 2 == 2);
        let [total, first, named, changed, late] = [28, 32, 36, 40, 44].map(|at| word(at) as usize);
        self.at_ms = f64::from_le_bytes(*frame[16..].first_chunk().expect("eight bytes"));
        self.sent_ms.resize(total, None);
        self.frames[usize::from(is_list)] += 1;
        self.sensors.resize(total, (0, 0.0, 0));
        for at in 0..named {
            self.sensors[first + at].0 = frame[HEADER_BYTES + at];
        }
        let which = HEADER_BYTES + named.next_multiple_of(4);
        let words = if is_list { changed } else { total.div_ceil(32) };
        let numbers: Vec<usize> = if is_list {
            (0..changed).map(|at| word(which + at * 4) as usize).collect()
        } else {
            let is_set = |n: &usize| word(which + n / 32 * 4) >> (n % 32) & 1 == 1;
            (0..total).filter(is_set).collect()
        };
        assert_eq!(numbers.len(), changed);
        let values = which + words * 4;
        for (at, number) in numbers.into_iter().enumerate() {
            let bits = word(values + at * 4);
            let sensor = &mut self.sensors[number];
            (sensor.1, sensor.2) = (f32::from_bits(bits), bits & 3);
            self.sent_ms[number] = Some(self.at_ms);
        }
        let ages = values + changed * 4;
        let aged: Vec<_> = if is_whole {
            (0..changed).map(|at| (at, word(ages + at * 4))).collect()
        } else {
            let of_late = |at: usize| (word(ages + at * 4) as usize, word(ages + (late + at) * 4));
            (0..late).map(of_late).collect()
        };
        for &(number, age_ms) in &aged {
            assert!(is_whole || age_ms >= LATE_MS, "{age_ms}");
            let known = (age_ms != u32::MAX).then_some(self.at_ms - f64::from(age_ms));
            self.sent_ms[number] = known;
        }
        let ages_bytes = aged.len() * if is_whole { 4 } else { 8 };
        assert_eq!(frame.len(), ages + ages_bytes, "nothing follows");
    }

    fn age_ms(&self, number: usize) -> Option<f64> {
        self.sent_ms[number].map(|sent_ms| self.at_ms - sent_ms)
    }

    fn assert_shows(&self, mirror: &Mirror) {
        assert_eq!(self.sensors.len(), mirror.sensors().len());
        for (seen, sensor) in self.sensors.iter().zip(mirror.sensors()) {
            assert_eq!((seen.0, seen.2), (sensor.sensor_type as u8, u32::from(sensor.level)));
            let (shown, smoothed) = (f64::from(seen.1), f64::from(sensor.smoothed));
            // Two bits of 24 are the level's.
            assert!((shown - smoothed).abs() <= smoothed.abs() / f64::from(1 << 20), "{seen:?}");
        }
        for (number, sensor) in mirror.sensors().iter().enumerate() {
            let known = (sensor.recv_ns > 0).then(|| mirror.age_ns(sensor) as f64 / 1e6);
            let shown = self.age_ms(number);
            let apart = known.unwrap_or_default() - shown.unwrap_or_default();
            assert_eq!(known.is_some(), shown.is_some(), "{number}");
            assert!((-1.0..=f64::from(LATE_MS)).contains(&apart), "{known:?}, shown as {shown:?}");
        }
    }
}

fn look(looks: &mut PictureConsumer, mirror: &mut Mirror, page: &mut Page) {
    while let Some(picture) = looks.poll() {
        let named = page.sensors.len();
        mirror.apply(&picture);
        looks.recycle(picture);
        page.apply(&delta(mirror, named));
    }
}

#[test]
fn changes_lead_to_what_a_whole_frame_says() {
    let mut rig = Rig::new(options());
    let (producer, mut looks) = pictures();
    looks.want(true);
    rig.world.attach(Watch::new(producer, 1000, 64));
    rig.open(1);
    let (mut mirror, mut page, mut random) = (Mirror::default(), Page::default(), Random(7));
    for seq in 0..400 {
        // Few sensors at first, so that both forms of a frame come.
        let batch = if seq < 200 { 1 } else { 60 };
        for _ in 0..batch {
            let sensor = random.below(u64::from(SENSORS)) as u32;
            let value = random.below(100_000) as f64 / 7.0;
            rig.receive(Tier::T1, 1, 0, &record(sensor / 5, (sensor % 5) as u16, seq, value));
        }
        rig.tick();
        look(&mut looks, &mut mirror, &mut page);
    }
    rig.ticks(100);
    look(&mut looks, &mut mirror, &mut page);
    page.assert_shows(&mirror);
    assert!(page.sensors.len() > 400, "{} sensors were named", page.sensors.len());
    assert!(page.frames.iter().all(|&count| count > 0), "both forms came: {:?}", page.frames);
    let mut late = Page::default();
    late.apply(&whole(&mirror));
    assert_eq!(late.sensors, page.sensors, "who comes late sees the same");
}

#[test]
fn a_value_that_came_late_is_as_old_in_a_change_as_it_is() {
    let mut rig = Rig::new(options());
    let (producer, mut looks) = pictures();
    looks.want(true);
    rig.world.attach(Watch::new(producer, 1000, 64));
    rig.open(1);
    let (mut mirror, mut page) = (Mirror::default(), Page::default());
    // So long ago was the record sent that comes now: its time is that of the rig's beginning.
    rig.ticks(30_000);
    look(&mut looks, &mut mirror, &mut page);
    let now = rig.now_ns.saturating_sub(rig::START_NS) / 100_000;
    rig.receive(Tier::T1, 1, 0, &record(0, 0, 0, 7.0));
    rig.receive(Tier::T1, 1, 0, &record(0, 1, now as u32, 7.0));
    rig.ticks(200);
    look(&mut looks, &mut mirror, &mut page);
    page.assert_shows(&mirror);
    let ages = [0, 1].map(|number| page.age_ms(number).expect("a value"));
    assert!((30_000.0..31_000.0).contains(&ages[0]) && ages[1] < 1_000.0, "{ages:?}");
}

#[test]
fn a_page_that_missed_pictures_shows_nothing_old_after_the_next_frame() {
    let mut rig = Rig::new(options());
    let (producer, mut looks) = pictures();
    looks.want(true);
    rig.world.attach(Watch::new(producer, 1000, 64));
    rig.open(1);
    let (mut mirror, mut slow, mut random) = (Mirror::default(), Page::default(), Random(9));
    let mut seen = 0;
    let mut skipped = 0;
    for seq in 0..1500 {
        let sensor = random.below(u64::from(SENSORS)) as u32;
        let value = random.below(100_000) as f64 / 7.0;
        rig.receive(Tier::T1, 1, 0, &record(sensor / 5, (sensor % 5) as u16, seq, value));
        rig.tick();
        while let Some(picture) = looks.poll() {
            mirror.apply(&picture);
            looks.recycle(picture);
        }
        if random.below(150) == 0 {
            skipped += mirror.pictures().saturating_sub(seen + 1);
            slow.apply(&since(&mirror, seen, slow.sensors.len()));
            seen = mirror.pictures();
            slow.assert_shows(&mirror);
        }
    }
    assert!(skipped > 10, "{skipped} pictures were skipped");
    assert!(slow.frames[1] > 0, "a frame is no larger than what has changed: {:?}", slow.frames);
}

#[test]
fn an_empty_field_is_a_frame_without_sensors() {
    let mut page = Page::default();
    page.apply(&whole(&Mirror::default()));
    assert!(page.sensors.is_empty());
}
