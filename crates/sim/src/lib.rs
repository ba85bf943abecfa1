//! Lives through runs by seed: scripted executors, a virtual clock and misfortunes around the real engine. It starts no
//! process, opens no file and no connection.

pub mod chance;
