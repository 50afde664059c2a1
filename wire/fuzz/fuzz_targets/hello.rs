//! Any bytes as a control stream: no panic, every step consumes something, and a cut stream only ever asks for more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{ControlFrame, HELLO_BYTES, Hello, Token};

fuzz_target!(|bytes: &[u8]| {
    let whole = Hello::decode(bytes);
    if whole.is_ok() {
        // An end that has seen less must not have refused what turned out well.
        for length in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            assert!(Hello::decode(&bytes[..length]).is_ok());
        }
    }
    let Ok(Some((hello, mut at))) = whole else { return };
    assert!((HELLO_BYTES..=bytes.len()).contains(&at));
    let encoded = hello.encode();
    assert_eq!(Hello::decode(&encoded), Ok(Some((hello, HELLO_BYTES))));
    if let Some(token) = Token::new(Token::of_hello(&bytes[..at])) {
        let (encoded, length) = hello.encode_with_token(&token);
        assert_eq!(Hello::decode(&encoded[..length]), Ok(Some((hello, length))));
        assert_eq!(Token::of_hello(&encoded[..length]), token.as_bytes());
    } else {
        assert!(Token::of_hello(&bytes[..at]).is_empty());
    }

    while let Ok(Some((frame, taken))) = ControlFrame::decode(&bytes[at..]) {
        assert!(taken >= 4 && at + taken <= bytes.len());
        if let ControlFrame::Totals(totals) = frame {
            let encoded = totals.encode();
            assert_eq!(encoded[4..], bytes[at + 4..at + encoded.len()]);
        }
        at += taken;
    }
});
