//! Why a channel is stuck.

use roam_trace_common::event::ChannelDirection;

use crate::analysis::context::Analysis;
use crate::analysis::driver::DriverStall;
use crate::analysis::finding::Finding;
use crate::analysis::index::{Endpoint, unread};
use crate::analysis::reason::{ChannelReason, Reason};
use crate::model::{Channel, Evidence};

/// Why a channel is stuck, if it is known to be.
pub(in crate::analysis) fn judge_channel(
    analysis: &Analysis<'_>,
    process: u32,
    row: &Channel,
) -> Option<Finding> {
    (row.age_us >= analysis.index.stuck_us).then_some(())?;
    let at = Endpoint {
        process,
        serial: row.connection,
    };
    buffer_full(analysis, at, row).or_else(|| end_gone(analysis, at, row))
}

fn buffer_full(analysis: &Analysis<'_>, at: Endpoint, row: &Channel) -> Option<Finding> {
    let link = analysis.index.link(at);
    let stall = analysis.link_state(link).stall?;
    let DriverStall::Delivering {
        at: blocked_at,
        channel_id,
        waiting_us,
        ..
    } = stall
    else {
        return None;
    };
    (blocked_at == at && channel_id == row.channel_id).then_some(())?;
    let reason = ChannelReason::BufferFull {
        unread: unread(row),
        waiting_us,
    };
    let evidence = analysis.stall_evidence(link, stall);
    Some(analysis.found_with(Reason::Channel(reason), evidence))
}

fn end_gone(analysis: &Analysis<'_>, at: Endpoint, row: &Channel) -> Option<Finding> {
    let request = row
        .request
        .and_then(|serial| analysis.index.request_by_serial(at.process, serial));
    if request.is_some_and(|request| analysis.standings.is_unsuspicious(request)) {
        return None;
    }
    let missing_in = if row.reader_gone || row.writer_gone {
        None
    } else {
        Some(process_without_other_end(analysis, at, row)?)
    };
    let is_tx = row.direction == ChannelDirection::Tx;
    let reader_gone = row.reader_gone || missing_in.is_some() && is_tx;
    let writer_gone = row.writer_gone || missing_in.is_some() && !is_tx;
    let reason = if reader_gone {
        ChannelReason::ReaderGone { missing_in }
    } else {
        let unread = unread(row);
        ChannelReason::WriterGone { unread, missing_in }
    };
    let evidence = Evidence::ChannelEnds {
        reader_gone,
        writer_gone,
        by_other_process: missing_in.is_some(),
    };
    Some(analysis.found(Reason::Channel(reason), [evidence]))
}

/// The process at the other end, if it has no row for its end and would have one.
fn process_without_other_end(analysis: &Analysis<'_>, at: Endpoint, row: &Channel) -> Option<u32> {
    let (index, pairs) = (analysis.index, analysis.calls.pairs());
    let link = index.link(at);
    let partner = pairs
        .partner(link)
        .filter(|partner| partner.shows_absence)?;
    let there = pairs.connection_of(partner.link, index.connection(at)?.conn_id)?;
    let is_missing = index.channel(there, row.channel_id).is_none()
        && index.has_channel_outlived(at.process, row, there.process)
        && index.has_all_channels(there.process)
        && analysis.link_state(partner.link).stall.is_none()
        && analysis.link_state(link).stall.is_none();
    is_missing.then_some(there.process)
}
