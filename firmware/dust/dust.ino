// Dust, temperature and humidity of the air, for mote.
//
// An ATmega328P (Arduino Uno, Nano or Pro Mini, 16 MHz) reads a Sharp
// GP2Y1010AU0F and a DHT11 or DHT22 and prints a frame every so many seconds:
//
//     {id:dust:temp:humid:rate}      {1:35.2:21.5:40.0:10}
//
// dust in µg/m³, temp in °C, humid in % of relative humidity, rate in seconds. A
// value that cannot be measured is empty: {1:35.2:::10}. The board takes two
// commands on the same line and answers each with a frame at once:
//
//     {rate:2.5}   a frame every 2.5 seconds; the frame says the rate that was
//                  taken, which is never below LEAST_RATE or above MOST_RATE
//     {id:roof-1}  its name, 1 to 16 letters, digits, hyphens and underscores
//
// Both are kept over a loss of power. Everything else on the line is passed
// over. The wiring is in wiring.svg.

#include <avr/eeprom.h>
#include <avr/sleep.h>
#include <avr/wdt.h>
#include <util/crc16.h>

// What may be changed here, or by -D.
#ifndef BOARD_ID
#define BOARD_ID "1"  // until {id:NAME} says another
#endif
#ifndef BOARD_RATE
#define BOARD_RATE 10000  // milliseconds, until {rate:N} says another
#endif
#ifndef LINE_BAUD
#define LINE_BAUD 9600  // as the Bluetooth module is set
#endif
#ifndef CLEAN_MV
#define CLEAN_MV 900  // what this GP2Y10 gives in clean air
#endif
#ifndef SUPPLY_MV
#define SUPPLY_MV 5000  // between 5V and GND of the board, the measure of its converter
#endif

// Sharp's data sheet of the GP2Y1010AU0F (OP13024EN), electro-optical
// characteristics: 0.5 V for each 0.1 mg/m³ (0.35 to 0.65), 0.9 V without dust
// (0 to 1.5), an output of at least 3.4 V at its upper end.
const int MV_PER_100UG = 500;

// A sensor that works gives a pulse between these. Below, its LED is dark; above,
// Vo is not connected and the resistor R5 pulls the input up.
const int LEAST_MV = 20;
const int MOST_MV = 4500;

const uint8_t DHT_PIN = 2;  // has an external interrupt
const uint8_t LED_PIN = 7;  // low is on
const uint8_t DUST_PIN = A0;

// A frame of the longest kind takes 52 ms at 9600 baud.
const uint32_t LEAST_RATE = 100;        // milliseconds
const uint32_t MOST_RATE = 604800000L;  // a week, the most that a gateway asks for
const uint8_t ID_MAX = 16;
const uint8_t FRAME_MAX = 50;  // bytes of the longest frame: {, id, 3 x 6, rate, 4 x :, }

const int16_t MISSING = INT16_MIN;  // in place of a value

// ---- Settings -------------------------------------------------------------
//
// They are kept in a ring of slots: a change goes into the next slot, so that a
// loss of power while it is written leaves the one before, and each cell is
// written once in SLOTS changes. A slot is a record, little-endian; the newest
// with a good CRC counts.

const uint8_t RECORD_VERSION = 1;
const uint8_t SLOTS = 16;
const uint8_t SLOT_SIZE = 32;
const uint32_t SETTLED = 5000;  // milliseconds without another change before one is written

struct Record {
  uint8_t version;
  uint16_t sequence;
  uint32_t rate;  // milliseconds
  char id[ID_MAX + 1];
  uint16_t crc;  // CRC-CCITT of what is before
};

static Record now_set;              // what the board does
static Record kept;                 // what is in the EEPROM, or on its way there
static uint8_t slot;                // of kept
static uint8_t written = sizeof(Record);  // bytes of kept that are there
static uint32_t changed_at;

static bool idByte(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static bool idGood(const char *id) {
  uint8_t n = 0;
  while (idByte(id[n])) {
    if (++n > ID_MAX) return false;
  }
  return n > 0 && id[n] == 0;
}

static uint16_t recordCRC(const Record *r) {
  uint16_t crc = 0xffff;
  for (uint8_t i = 0; i < offsetof(Record, crc); i++) {
    crc = _crc_ccitt_update(crc, ((const uint8_t *)r)[i]);
  }
  return crc;
}

static bool recordGood(const Record *r) {
  return r->version == RECORD_VERSION && r->crc == recordCRC(r) && r->id[ID_MAX] == 0 && idGood(r->id) &&
         r->rate >= LEAST_RATE && r->rate <= MOST_RATE;
}

static uint8_t *slotAddress(uint8_t s) { return (uint8_t *)((uint16_t)s * SLOT_SIZE); }

static void loadSettings() {
  memset(&kept, 0, sizeof kept);
  kept.version = RECORD_VERSION;
  kept.rate = constrain((uint32_t)BOARD_RATE, LEAST_RATE, MOST_RATE);
  strncpy(kept.id, BOARD_ID, ID_MAX);
  slot = SLOTS - 1;
  bool found = false;
  for (uint8_t s = 0; s < SLOTS; s++) {
    Record r;
    eeprom_read_block(&r, slotAddress(s), sizeof r);
    if (!recordGood(&r)) continue;
    if (found && (int16_t)(r.sequence - kept.sequence) < 0) continue;
    kept = r;
    slot = s;
    found = true;
  }
  now_set = kept;
}

// keepSettings writes a change when it has settled, one byte at each call: a byte
// takes 3.4 ms, which nobody waits for.
static void keepSettings(uint32_t now) {
  if (written < sizeof kept) {
    if (eeprom_is_ready()) {
      eeprom_update_byte(slotAddress(slot) + written, ((const uint8_t *)&kept)[written]);
      written++;
    }
    return;
  }
  if (now_set.rate == kept.rate && strcmp(now_set.id, kept.id) == 0) return;
  if (now - changed_at < SETTLED) return;
  uint16_t sequence = kept.sequence + 1;
  kept = now_set;
  kept.sequence = sequence;
  kept.crc = recordCRC(&kept);
  slot = (slot + 1) % SLOTS;
  written = 0;
}

// ---- Commands -------------------------------------------------------------

static bool answer;  // a frame is owed to a command

// readSeconds reads a decimal number of seconds as milliseconds and says whether
// it is one, and at least a thousandth.
static bool readSeconds(const char *p, uint32_t *ms) {
  uint32_t whole = 0, thousandths = 0;
  uint8_t digits = 0;
  for (; *p >= '0' && *p <= '9'; p++, digits++) {
    if (whole <= MOST_RATE / 1000) whole = whole * 10 + (*p - '0');
  }
  if (*p == '.') {
    uint8_t weight = 100;
    for (p++; *p >= '0' && *p <= '9'; p++, digits++) {
      thousandths += weight * (*p - '0');
      weight /= 10;
    }
  }
  if (*p != 0 || digits == 0) return false;
  *ms = whole > MOST_RATE / 1000 ? MOST_RATE + 1 : whole * 1000 + thousandths;
  return *ms > 0;
}

static void obey(const char *command) {
  uint32_t ms;
  if (strncmp(command, "rate:", 5) == 0 && readSeconds(command + 5, &ms)) {
    now_set.rate = constrain(ms, LEAST_RATE, MOST_RATE);
  } else if (strncmp(command, "id:", 3) == 0 && idGood(command + 3)) {
    memset(now_set.id, 0, sizeof now_set.id);
    strcpy(now_set.id, command + 3);
  } else {
    return;
  }
  changed_at = millis();
  answer = true;
}

// hear takes the next byte of the line.
static void hear(char c) {
  static char body[33];
  static uint8_t length;
  static bool open;
  if (c == '{') {
    open = true;
    length = 0;
  } else if (!open) {
    return;
  } else if (c == '}') {
    open = false;
    body[length] = 0;
    obey(body);
  } else if (c == 0 || length == sizeof body - 1) {
    open = false;
  } else {
    body[length++] = c;
  }
}

// ---- Dust -----------------------------------------------------------------
//
// The data sheet's conditions: the LED is on for 0.32 ms every 10 ms and the
// output is sampled 0.28 ms after it went on. A reading is the mean of all pulses
// since the one before.

const uint16_t CYCLE = 10000;  // microseconds

static uint32_t dust_sum;
static uint16_t dust_count;
static int16_t dust = MISSING;  // tenths of µg/m³

// pulseDust holds interrupts off for 0.32 ms: less than one byte of the line and
// one tick of the clock, neither of which is lost.
static void pulseDust() {
  noInterrupts();
  digitalWrite(LED_PIN, LOW);
  delayMicroseconds(280);
  ADCSRA |= _BV(ADSC);  // the converter holds its input after 1.5 of its clocks
  delayMicroseconds(38);
  digitalWrite(LED_PIN, HIGH);
  interrupts();
  while (ADCSRA & _BV(ADSC)) {
  }
  if (dust_count == UINT16_MAX) {  // after 11 minutes the older half counts half
    dust_count /= 2;
    dust_sum /= 2;
  }
  dust_sum += ADC;
  dust_count++;
}

// takeDust ends a mean. Without a pulse since the last it stays the same.
static void takeDust() {
  if (dust_count == 0) return;
  uint32_t sixteenths = dust_sum * 16 / dust_count;
  int32_t mv10 = sixteenths * (SUPPLY_MV * 10L / 16) / 1024;
  dust_sum = 0;
  dust_count = 0;
  if (mv10 < LEAST_MV * 10L || mv10 > MOST_MV * 10L) {
    dust = MISSING;
    return;
  }
  mv10 = max(mv10 - CLEAN_MV * 10L, 0L);
  dust = mv10 * 100 / MV_PER_100UG;
}

// ---- Temperature and humidity ---------------------------------------------
//
// A DHT11 or DHT22 (AM2302) is called by holding its line low for 18 ms. It
// answers with 80 µs low and 80 µs high, then 40 bits: 50 µs low, then high for
// about 26 µs (0) or 70 µs (1), and at the end low once more. An interrupt times
// from one falling edge to the next, so that nothing else has to wait.

const uint32_t DHT_PAUSE = 2500000;  // microseconds; a DHT22 measures every 2 s
const uint32_t DHT_FIRST = 1000000;  // after power-on
const uint16_t DHT_CALL = 18000;
const uint16_t DHT_PATIENCE = 8000;  // for an answer, which takes at most 5.3 ms
const uint8_t DHT_ONE = 99;          // microseconds; between 50 + 26 and 50 + 70
const uint8_t DHT_EDGES = 42;        // the answer's, the first bit's, the ends of 40 bits
const uint8_t DHT_FAILURES = 3;      // in a row, after which the last values are too old

enum { RESTING, CALLING, LISTENING };

static volatile uint8_t dht_edges = DHT_EDGES;
static volatile uint8_t dht_data[5];
static uint8_t dht_state = RESTING;
static uint8_t dht_failures;
static int16_t temp = MISSING, humid = MISSING;  // tenths

static void dhtEdge() {
  static uint32_t before;
  uint32_t at = micros();
  uint8_t edge = dht_edges;
  if (edge >= DHT_EDGES) return;
  if (edge >= 2) {
    uint8_t i = (edge - 2) / 8;
    dht_data[i] = dht_data[i] << 1 | (at - before > DHT_ONE);
  }
  before = at;
  dht_edges = edge + 1;
}

// readDHT takes over an answer and says whether it can be true. A DHT22 gives
// tenths of both in 16 bits each, so that its first byte is at most 3; a DHT11's
// is whole percents, of which it measures 5 at least.
static bool readDHT() {
  uint8_t d[5];
  for (uint8_t i = 0; i < 5; i++) d[i] = dht_data[i];
  if ((uint8_t)(d[0] + d[1] + d[2] + d[3]) != d[4]) return false;
  int16_t h, t;
  bool below;
  if (d[0] <= 3) {
    h = d[0] << 8 | d[1];
    t = (d[2] & 0x7f) << 8 | d[3];
    below = d[2] & 0x80;
  } else {
    if (d[1] > 9 || (d[3] & 0x7f) > 9 || d[2] > 80) return false;
    h = d[0] * 10 + d[1];
    t = d[2] * 10 + (d[3] & 0x7f);
    below = d[3] & 0x80;
  }
  if (below) t = -t;
  if (h > 1000 || t < -400 || t > 800) return false;
  humid = h;
  temp = t;
  return true;
}

static void endDHT(bool good) {
  dht_state = RESTING;
  if (good) {
    dht_failures = 0;
  } else if (dht_failures < DHT_FAILURES && ++dht_failures == DHT_FAILURES) {
    temp = humid = MISSING;
  }
}

static void followDHT(uint32_t us) {
  static uint32_t since = DHT_FIRST - DHT_PAUSE;
  switch (dht_state) {
    case RESTING:
      if (us - since < DHT_PAUSE) return;
      digitalWrite(DHT_PIN, LOW);
      pinMode(DHT_PIN, OUTPUT);
      dht_state = CALLING;
      since = us;
      return;
    case CALLING:
      if (us - since < DHT_CALL) return;
      dht_state = LISTENING;
      since = us;
      dht_edges = 0;
      pinMode(DHT_PIN, INPUT_PULLUP);
      return;
    case LISTENING:
      if (dht_edges == DHT_EDGES) {
        endDHT(readDHT());
      } else if (us - since > DHT_PATIENCE) {
        dht_edges = DHT_EDGES;  // no more
        endDHT(false);
      }
  }
}

// ---- Frames ---------------------------------------------------------------

static void printTenths(int16_t v) {
  if (v == MISSING) return;
  if (v < 0) {
    Serial.write('-');
    v = -v;
  }
  Serial.print(v / 10);
  Serial.write('.');
  Serial.print(v % 10);
}

static void printSeconds(uint32_t ms) {
  Serial.print(ms / 1000);
  uint16_t rest = ms % 1000;
  if (rest == 0) return;
  Serial.write('.');
  for (uint16_t weight = 100; rest > 0; weight /= 10) {
    Serial.write('0' + rest / weight);
    rest %= weight;
  }
}

static void printFrame() {
  takeDust();
  Serial.write('{');
  Serial.print(now_set.id);
  Serial.write(':');
  printTenths(dust);
  Serial.write(':');
  printTenths(temp);
  Serial.write(':');
  printTenths(humid);
  Serial.write(':');
  printSeconds(now_set.rate);
  Serial.write('}');
}

// speak prints a frame when one is due or owed, and there is room for it: nothing
// waits for the line.
static void speak(uint32_t now) {
  static uint32_t due = 1500;  // the first, when the DHT has been read
  bool late = (int32_t)(now - due) >= 0;
  if (!late && !answer) return;
  if (Serial.availableForWrite() < FRAME_MAX) return;
  printFrame();
  due = (answer ? now : due) + now_set.rate;
  answer = false;
}

// ---- The board ------------------------------------------------------------

// The watchdog stays on over the reset that it makes, and would make the next
// before setup: it is stopped as the first thing.
void stopWatchdog() __attribute__((naked, used, section(".init3")));
void stopWatchdog() {
  MCUSR = 0;
  wdt_disable();
}

void setup() {
  digitalWrite(LED_PIN, HIGH);
  pinMode(LED_PIN, OUTPUT);
  pinMode(DHT_PIN, INPUT_PULLUP);
  analogRead(DUST_PIN);  // chooses the input; a converter's first result is thrown away
  loadSettings();
  attachInterrupt(digitalPinToInterrupt(DHT_PIN), dhtEdge, FALLING);
  Serial.begin(LINE_BAUD);
  set_sleep_mode(SLEEP_MODE_IDLE);
  wdt_enable(WDTO_2S);
}

void loop() {
  static uint32_t pulsed;
  wdt_reset();
  while (Serial.available() > 0) hear(Serial.read());
  uint32_t us = micros();
  followDHT(us);
  if (dht_state == RESTING && us - pulsed >= CYCLE) {
    pulsed = us;
    pulseDust();
  }
  uint32_t now = millis();
  speak(now);
  keepSettings(now);
  sleep_mode();  // until the next interrupt: the clock's comes every 1.024 ms
}
