//! naru-tests
