//! Addresses against windows (always) and allocations (with the mem check), and what to call the place of an address.

use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::launch::accesses::Accesses;

pub fn check(part: &Accesses, launch: &Launch, recent: &mut (u64, u64)) -> Result<(), Fault> {
    let inside = |start: u64, end: u64| part.low >= start && part.within(end);
    if launch.checks.mem {
        if inside(recent.0, recent.1) {
            return Ok(());
        }
        return check_allocations(part, launch, recent);
    }
    let memory = &launch.memory;
    if [&memory.device, &memory.host].iter().any(|w| inside(w.base, w.base + w.size)) {
        return Ok(());
    }
    match part.active().find(|&i| memory.window(part.addresses[i], part.bytes as u64).is_none()) {
        Some(lane) => Err(illegal(part, lane, launch)),
        None => Ok(()),
    }
}

fn check_allocations(part: &Accesses, launch: &Launch, recent: &mut (u64, u64)) -> Result<(), Fault> {
    let live = &launch.snapshot.live;
    for lane in part.active() {
        let address = part.addresses[lane];
        let fits = |&(start, end): &(u64, u64)| address >= start && address < end && part.bytes as u64 <= end - address;
        if fits(recent) {
            continue;
        }
        let index = live.partition_point(|&(start, _)| start <= address);
        match live[..index].last().filter(|range| fits(range)) {
            Some(range) => *recent = *range,
            None => return Err(illegal(part, lane, launch)),
        }
    }
    Ok(())
}

/// `0x… (byte 5 of the allocation 0x… of 400 bytes)`
pub fn name_for(address: u64, launch: &Launch) -> String {
    let live = &launch.snapshot.live;
    let index = live.partition_point(|&(start, _)| start <= address);
    match live[..index].last().filter(|(_, end)| address < *end) {
        Some((start, end)) => {
            format!("0x{address:x} (byte {} of the allocation 0x{start:x} of {} bytes)", address - start, end - start)
        }
        None => format!("0x{address:x}"),
    }
}

/// Says what is near the address: a freed allocation, or the nearest live one.
fn illegal(part: &Accesses, lane: usize, launch: &Launch) -> Fault {
    let address = part.addresses[lane];
    let what = format!("{} bytes at 0x{address:x}", part.bytes);
    let snapshot = &launch.snapshot;
    if let Some((start, end)) = snapshot.freed.iter().rev().find(|(start, end)| (*start..*end).contains(&address)) {
        let message = format!(
            "{what}, {} bytes into an allocation of up to {} bytes that was freed",
            address - start,
            end - start
        );
        return Fault::new(FaultKind::UseAfterFree, message).at_lane(lane);
    }
    let before = snapshot.live.iter().rev().find(|(start, _)| *start <= address);
    let message = match before {
        Some((start, end)) if address >= *end => {
            format!(
                "{what}, {} bytes past the end of the allocation 0x{start:x} of {} bytes",
                address - end,
                end - start
            )
        }
        Some((start, end)) => {
            format!("{what}, across the end of the allocation 0x{start:x} of {} bytes", end - start)
        }
        None => format!("{what}, in no allocation"),
    };
    Fault::new(FaultKind::IllegalAddress, message).at_lane(lane)
}
