//! What the heap does with large blocks. Alone in its process, because it looks at the memory of all of it.

use netloop::{LARGE_BLOCK_BYTES, map_large_blocks, rss_bytes};

#[test]
fn large_blocks_go_back_to_the_system_also_after_larger_ones_were_freed() {
    const BLOCKS: u64 = 64;
    if !map_large_blocks() {
        eprintln!(
            "not checked: the allocator is not that of glibc, or the address sanitizer has its own"
        );
        return;
    }
    // After this, glibc would keep blocks of up to 16 MiB on the heap.
    drop(std::hint::black_box(vec![1_u8; 16 << 20]));
    let block = || Some(vec![1_u8; LARGE_BLOCK_BYTES * 2]);
    let mut blocks: Vec<Option<Vec<u8>>> = (0..BLOCKS).map(|_| block()).collect();
    let before = rss_bytes().unwrap();
    // Holes between blocks that stay: on the heap they would be kept.
    blocks.iter_mut().skip(1).step_by(2).for_each(|block| *block = None);
    let given_back = before.saturating_sub(rss_bytes().unwrap());
    let freed = LARGE_BLOCK_BYTES as u64 * BLOCKS;
    assert!(given_back > freed * 3 / 4, "{given_back} of {freed} bytes");
    assert_eq!(std::hint::black_box(&blocks).iter().flatten().count() as u64, BLOCKS / 2);
}
