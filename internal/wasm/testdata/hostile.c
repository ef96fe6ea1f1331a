// A guest that does what guests must not do; the first byte of the message says what. See build.sh.
typedef int i32;
typedef unsigned char byte;
#define HOST(name) __attribute__((import_module("pulsar"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

HOST(input) i32 input(byte *buf, i32 capacity);
HOST(output) void output(const byte *payload, i32 size);
HOST(output_property) void output_property(const byte *name, i32 n, const byte *value, i32 v);
HOST(output_key) void output_key(const byte *key, i32 size);
HOST(fail) void fail(const char *text, i32 size);
HOST(publish) i32 publish(const char *topic, i32 topic_size, const byte *payload, i32 size, const byte *key, i32 key_size,
                          const byte *properties, i32 properties_size, long long event_time, long long deliver_after);
HOST(held) i32 held(byte *buf, i32 capacity);
HOST(message_property) i32 message_property(const char *name, i32 size, byte *buf, i32 capacity);

static byte buf[1024];
static volatile i32 counter;

EXPORT(pulsar_abi_version_1) void version(void) {}

static i32 recurse(i32 n) {
  volatile byte room[64];
  room[0] = (byte)n;
  return recurse(n + 1) + room[0];
}

EXPORT(pulsar_handle) i32 handle(i32 size) {
  input(buf, sizeof buf);
  if (size == 0) return 0;
  switch (buf[0]) {
  case 'l': // an endless loop
    for (;;) counter++;
  case 'a': // memory without end
    for (;;) {
      i32 page = __builtin_wasm_memory_grow(0, 16);
      if (page < 0) __builtin_trap();
      for (i32 i = 0; i < 1 << 20; i += 4096) *(byte *)(page * 65536 + i) = 1;
    }
  case 't': __builtin_trap();
  case 'r': return recurse(0);
  case 'o': output((const byte *)0, 8 << 20); return 0;  // more than the limit
  case 'p': output((const byte *)0x7ffffff0, 100); return 0;
  case 'q': output((const byte *)-1, -1); return 0;
  case 'n': message_property((const char *)-4, 100, buf, sizeof buf); return 0;
  case 'f': fail("refused", 7); return 1;
  case 's': return -5; // fails without a reason
  case 'k': for (;;) output_property(buf, 1000, buf, 1000); // the same name: counted all the same
  case 'w': { // properties packed wrongly
    static const byte packed[] = {200, 0, 0, 0, 'x'};
    return publish("t", 1, buf, 1, 0, 0, packed, sizeof packed, 0, 0);
  }
  case 'P': { // a publish that waits
    i32 n = publish("t", 1, buf, 1, 0, 0, 0, 0, 0, 0);
    if (n < 0) { n = held(buf, sizeof buf); fail((const char *)buf, n); return 1; }
    return 0;
  }
  case 'K': output(buf, size); output_key(buf, 1); return 0;
  }
  output(buf, size);
  return 0;
}
