// A Pulsar function in C without a standard library: it appends an exclamation mark to each message, or the user config
// "suffix". Build it with build.sh; docs/wasm-abi.md describes the functions of the host.
typedef int i32;
typedef unsigned char byte;

#define HOST(name) __attribute__((import_module("pulsar"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

HOST(input) i32 input(byte *buf, i32 capacity);
HOST(output) void output(const byte *payload, i32 size);
HOST(config_text) i32 config_text(const char *key, i32 key_size, byte *buf, i32 capacity);
HOST(metric) void metric(const char *name, i32 size, double value);
HOST(fail) void fail(const char *text, i32 size);

#define LIMIT (1 << 20)
#define SUFFIX 256
static byte message[LIMIT + SUFFIX];

EXPORT(pulsar_abi_version_1) void version(void) {}

EXPORT(pulsar_handle) i32 handle(i32 size) {
  if (size > LIMIT) {
    fail("the message is larger than 1 MiB", 32);
    return 1;
  }
  input(message, LIMIT);
  metric("length", 6, (double)size);
  i32 n = config_text("suffix", 6, message + size, SUFFIX);
  if (n > SUFFIX) {
    fail("the user config suffix is longer than 256 bytes", 47);
    return 1;
  }
  if (n < 0) {
    message[size] = '!';
    n = 1;
  }
  output(message, size + n);
  return 0;
}
