//! What the model is trained to do: noise rates, corruption and loss reductions as pure functions, without a model.
//!
//! Equation numbers are those of Stable-DiffCoder (arXiv 2601.15892). What the paper leaves open is an option here, with
//! our default:
//!
//! | open in the paper | option | default |
//! |---|---|---|
//! | one mask ratio per block or per sequence | [`noise::RateUnit`] | per block |
//! | whether the clip and the forced mask act in CPT | [`noise::Clip`] | on (off in the warmup, where it would void eq. 10) |
//! | what the loss is divided by | [`loss::Normaliser`] | CPT: all tokens; warmup: masked tokens |
//! | S_warmup | steps of the `warmup` stage | all of that stage |

pub mod corrupt;
pub mod loss;
pub mod noise;
