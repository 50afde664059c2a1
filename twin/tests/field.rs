//! Frames of the field, read back as a page reads them: whole ones and changes lead to the same sensors as the mirror.

mod rig;

use bytes::Bytes;
use rig::{Random, Rig, options, record};
use twin::http::field::{HEADER_BYTES, delta, since, whole};
use twin::mirror::Mirror;
use twin::picture::{PictureConsumer, pictures};
use twin::world::Watch;
use wire::Tier;

const SENSORS: u32 = 500;

/// What a page holds of each sensor: type, value, level.
#[derive(Debug, Default, PartialEq)]
struct Page {
    sensors: Vec<(u8, f32, u32)>,
    frames: [usize; 2],
}

impl Page {
    /// Takes a frame in, by the table at the head of `twin/src/http/field.rs`.
    fn apply(&mut self, frame: &Bytes) {
        let word = |at: usize| u32::from_le_bytes(*frame[at..].first_chunk().expect("a word"));
        assert_eq!(&frame[..4], b"PXF1");
        let (is_whole, is_list) = (word(4) & 1 == 1, word(4) & 2 == 2);
        let [total, first, named, changed] = [28, 32, 36, 40].map(|at| word(at) as usize);
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
        }
        let ages = if is_whole { changed * 4 } else { 0 };
        assert_eq!(frame.len(), values + changed * 4 + ages, "nothing follows");
    }

    fn assert_shows(&self, mirror: &Mirror) {
        assert_eq!(self.sensors.len(), mirror.sensors().len());
        for (seen, sensor) in self.sensors.iter().zip(mirror.sensors()) {
            assert_eq!((seen.0, seen.2), (sensor.sensor_type as u8, u32::from(sensor.level)));
            let (shown, smoothed) = (f64::from(seen.1), f64::from(sensor.smoothed));
            // Two bits of 24 are the level's.
            assert!((shown - smoothed).abs() <= smoothed.abs() / f64::from(1 << 20), "{seen:?}");
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
