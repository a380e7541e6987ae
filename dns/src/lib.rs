//! naru-dns
