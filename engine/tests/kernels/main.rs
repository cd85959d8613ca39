//! Every CPU kernel against plain f64 loops, over odd shapes, and bit-equality across thread pools.

mod attention;
mod loss_and_optimizer;
mod products;
mod reference;
mod rowwise;
