//! Bytes and values of the Pollux protocol, and nothing else.
