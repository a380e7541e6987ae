//! naru-core
