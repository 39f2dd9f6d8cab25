//! Limits that more than one crate relies on.

/// Bits of a [`Serial`](crate::Serial) that hold the slot.
pub const SERIAL_SLOT_BITS: u32 = 24;

/// Maximum number of slots of a table.
pub const MAX_CAPACITY: u32 = 1 << SERIAL_SLOT_BITS;

/// Connection rows of a registry.
pub const CONNECTIONS: u32 = 4_096;
/// Request rows of a registry unless `ROAM_DIAGNOSTIC_REQUESTS` says otherwise.
pub const REQUESTS: u32 = 131_072;
/// Channel rows of a registry.
pub const CHANNELS: u32 = 65_536;
/// Method names of a registry.
pub const METHODS: u32 = 16_384;
/// Element type names of a registry.
pub const TYPES: u32 = 4_096;

/// Rows of statistics of a registry: one for each method, direction and thread at the most.
pub const STATISTICS: u32 = 4_096;

/// Maximum number of characters of a request's arguments; the rest is cut.
pub const ARGUMENTS_CHARS: usize = 64;
/// Bytes of a request's arguments, at four bytes for each character.
pub const ARGUMENTS_BYTES: usize = 4 * ARGUMENTS_CHARS;
/// Bytes of a connection's name.
pub const CONNECTION_NAME_BYTES: usize = 80;
/// Bytes of the error of an attempt to connect.
pub const ERROR_BYTES: usize = 112;
/// Bytes of a method's name.
pub const METHOD_NAME_BYTES: usize = 232;
/// Bytes of an element type's name.
pub const TYPE_NAME_BYTES: usize = 240;

/// Processes in an armed set unless the user asks for more.
pub const ARMED_PROCESSES: u32 = 4_096;
/// Connections in an armed set, over all processes.
pub const ARMED_CONNECTIONS: u32 = 16_384;
/// Executables and libraries in an armed set.
pub const ARMED_EXECUTABLES: u32 = 1_024;

/// Bytes of the ring buffer of live events: 75,000 events.
pub const EVENT_BUFFER_BYTES: u32 = 8 << 20;
/// Bytes in it at which its reader is woken. Otherwise, the reader looks by itself.
pub const EVENT_WAKE_BYTES: u32 = 1 << 20;
/// Methods, over all processes, for which the kernel knows whether a filter lets them pass.
pub const FILTERED_METHODS: u32 = METHODS;
/// Buckets of histograms in use, over all processes, methods and directions.
pub const HISTOGRAM_BUCKETS: u32 = 16_384;

/// Rows and names that a dump has, over all its processes, unless the user asks for more. A row takes half a
/// kilobyte of the tracer's memory: with this many it stays within 64 MB.
pub const SHOWN_ROWS: u32 = 94_000;
/// Maximum number of channels among them.
pub const SHOWN_CHANNELS: usize = 16_384;
/// Maximum number of requests of a dump that are shown with their arguments.
pub const SHOWN_ARGUMENTS: usize = 4_096;
/// Maximum number of rows of statistics that are read for a dump.
pub const READ_STATISTICS: usize = 4 * STATISTICS as usize;
/// Maximum number of methods and directions of a dump whose statistics are added up.
pub const SHOWN_METHODS: usize = 4_096;
/// Maximum number of slots that are scanned for a dump; slots in holes of the memory do not count.
pub const READ_SLOTS: usize = 1 << 21;
/// Maximum number of rows that are read again for a dump because they changed while they were read.
pub const READ_RETRIES: usize = 16_384;
