//! naru-cri
