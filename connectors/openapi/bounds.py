"""Every bound of this package in one place. Sizes are bytes unless a name says otherwise."""

MAX_RAW = 32 * 1024 * 1024
MAX_ARTIFACT = 48 * 1024 * 1024
MAX_DETAIL = 1024 * 1024  # one operation's details, uncompressed
MAX_BODY_SCHEMA = 512 * 1024  # one operation's local components, serialised
MAX_ALL_DETAILS = 256 * 1024 * 1024  # all details together, uncompressed: stops a bomb of shared components
MAX_ROWS_BYTES = 64 * 1024 * 1024

MAX_DEPTH = 128  # nesting of the JSON document
MAX_NODES = 8_000_000  # values in the document
MAX_OPERATIONS = 30_000
MAX_PARAMETERS = 250  # per operation
MAX_REF_HOPS = 16

MAX_TEMPLATE = 1_024
MAX_SEGMENTS = 64
MAX_NAME = 200  # operation ids, parameter names
MAX_SUMMARY = 300
MAX_DESCRIPTION = 400  # of a schema or parameter
MAX_OPERATION_DESCRIPTION = 2_000
MAX_LABELS = 300  # tags, permission groups
MAX_ANNOTATION = 256  # a default or example kept with a schema

MAX_PATTERN = 1_000  # characters
PATTERN_PROGRAM = 1024 * 1024
MAX_PATTERNS = 5_000  # distinct ones tried per description

MAX_PATH_VALUE = 1_024  # characters of one path parameter
MAX_QUERY = 16 * 1024
MAX_HEADER_VALUE = 1_024
MAX_REQUEST_BODY = 25 * 1024 * 1024
MAX_PROBLEMS = 10
CHECK_STEPS = 100_000  # schema nodes visited for one value, about a microsecond each
CHECK_DEPTH = 150
MAX_TOOL_SCHEMA = 32 * 1024

COMPILE_MEMORY = 3 * 1024 * 1024 * 1024  # address space of the child
