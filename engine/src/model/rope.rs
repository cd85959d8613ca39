//! Rotary positions in Hugging Face's convention: dimension i turns with dimension i + Dh/2.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::kernels::cuda::operations::Angles;
use crate::kernels::rope::RopeTable;
use crate::model::config::ModelConfig;

const FIRST_TABLE: usize = 512; // positions; doubled whenever a forward reaches past it

/// Rotary angles of one model, tabulated as far as they have been needed.
pub(crate) struct Rope {
    theta: f64,
    head_size: usize,
    table: RwLock<Arc<RopeTable>>,
}

/// The rotation of the rows of one forward.
#[derive(Clone)]
pub(crate) struct Rotation {
    table: Arc<RopeTable>,
    positions: Arc<Vec<u32>>,
    on_device: OnceLock<Angles>,
}

impl Rope {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let table =
            RwLock::new(Arc::new(RopeTable::new(config.rope_theta, config.head_size, FIRST_TABLE)));
        Self { theta: config.rope_theta, head_size: config.head_size, table }
    }

    pub(crate) fn at(&self, positions: Vec<u32>) -> Rotation {
        let needed = positions.iter().max().map_or(0, |&last| last as usize + 1);
        // A table is replaced whole, so a poisoned lock still holds a good one.
        let mut table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        if table.positions() < needed {
            table =
                Arc::new(RopeTable::new(self.theta, self.head_size, needed.next_power_of_two()));
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = table.clone();
        }
        Rotation { table, positions: Arc::new(positions), on_device: OnceLock::new() }
    }
}

impl Rotation {
    /// That of the first `rows` rows.
    pub(crate) fn first(&self, rows: usize) -> Cow<'_, Self> {
        if rows == self.positions.len() {
            return Cow::Borrowed(self);
        }
        let positions = Arc::new(self.positions[..rows].to_vec());
        Cow::Owned(Self { table: self.table.clone(), positions, on_device: OnceLock::new() })
    }

    /// The table, and the position of each row.
    pub(super) fn parts(&self) -> (Arc<RopeTable>, Arc<Vec<u32>>) {
        (self.table.clone(), self.positions.clone())
    }

    /// The same on the device of the weights, uploaded once.
    pub(super) fn on_device(&self, device: &Device) -> Result<Angles> {
        if let Some(angles) = self.on_device.get() {
            return Ok(angles.clone());
        }
        let angles = Angles::new(&self.table, &self.positions, device)?;
        Ok(self.on_device.get_or_init(|| angles).clone())
    }

    /// Cosines and sines of each row, each (R, Dh/2), for the plain operations.
    pub(crate) fn tensors(&self) -> Result<[Tensor; 2]> {
        let rows = self.positions.len();
        let gather = |part: fn(&RopeTable, u32) -> &[f32]| {
            let values: Vec<f32> = self
                .positions
                .iter()
                .flat_map(|&position| part(&self.table, position))
                .copied()
                .collect();
            Tensor::from_vec(values, (rows, self.table.head_size() / 2), &Device::Cpu)
        };
        Ok([gather(RopeTable::cos)?, gather(RopeTable::sin)?])
    }
}
