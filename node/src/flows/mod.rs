//! Flow and drop events: decoding, naming, streaming.
