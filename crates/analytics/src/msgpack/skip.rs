//! Stepping over values of unknown keys.

use super::read::{NIL, Reader, invalid};
use crate::DecodeError;

impl Reader<'_> {
    /// Steps over one value, however deeply it nests: counts the items still to come instead of recursing.
    pub(super) fn skip(&mut self) -> Result<(), DecodeError> {
        let mut left: u64 = 1;
        while left > 0 {
            left -= 1;
            let code = self.byte()?;
            let payload = match code {
                0x00..=0x7f | 0xe0.. | NIL | 0xc2 | 0xc3 => 0,
                0xa0..=0xbf => u32::from(code & 0x1f),
                0xcc | 0xd0 => 1,
                0xcd | 0xd1 => 2,
                0xca | 0xce | 0xd2 => 4,
                0xcb | 0xcf | 0xd3 => 8,
                0xc4 | 0xd9 => self.length8()?,
                0xc5 | 0xda => self.length16()?,
                0xc6 | 0xdb => self.length32()?,
                0x80..=0x8f => {
                    left = left.saturating_add(2 * u64::from(code & 0x0f));
                    0
                }
                0xde => {
                    left = left.saturating_add(2 * u64::from(self.length16()?));
                    0
                }
                0xdf => {
                    left = left.saturating_add(2 * u64::from(self.length32()?));
                    0
                }
                0x90..=0x9f => {
                    left = left.saturating_add(u64::from(code & 0x0f));
                    0
                }
                0xdc => {
                    left = left.saturating_add(u64::from(self.length16()?));
                    0
                }
                0xdd => {
                    left = left.saturating_add(u64::from(self.length32()?));
                    0
                }
                // An extension's payload has its type byte in front.
                0xd4..=0xd8 => {
                    self.take(1)?;
                    1 << (code - 0xd4)
                }
                0xc7 => self.extension_payload(Self::length8)?,
                0xc8 => self.extension_payload(Self::length16)?,
                0xc9 => self.extension_payload(Self::length32)?,
                0xc1 => return Err(invalid(code, "value")),
            };
            self.take(payload as usize)?;
        }
        Ok(())
    }

    /// Length of the payload of an extension whose type byte has been stepped over.
    fn extension_payload(&mut self, length: fn(&mut Self) -> Result<u32, DecodeError>) -> Result<u32, DecodeError> {
        let payload = length(self)?;
        self.take(1)?;
        Ok(payload)
    }
}
