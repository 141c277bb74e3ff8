/* simboard runs the sketch's program on a simulated ATmega328P, with the sensors
 * at its pins, in front of a pseudo-terminal where the Bluetooth module would be.
 *
 *     simboard dust.elf [SPEED]
 *
 * SPEED is how many times faster than life it runs, 1 if not given. At 0 its time
 * stands still but for `pass`, and then flies. It prints the terminal's name, then
 * obeys commands on standard input, one a line, each answered by one line; it ends
 * with its standard input.
 *
 *     dust MILLIVOLTS      what the GP2Y10 gives during its pulse
 *     dht A B C D [SUM]    the five bytes that the DHT answers; SUM if it is not right
 *     dht off              it does not answer
 *     dht cut N            it falls silent after N bits
 *     pulses               count and shapes of the LED's pulses since the last time
 *     calls                count of the calls to the DHT, and the shortest in µs
 *     eeprom               its 512 bytes that are in use, in hex
 *     spoil ADDRESS        changes one bit of a byte of the EEPROM
 *     stack                the most bytes of stack that were ever in use
 *     hang                 the program runs into an endless loop
 *     reset                the reset button
 *     pass MILLISECONDS    answers when so much simulated time has passed
 *     told                 count of the bytes that have come in on the line, also
 *                          those that wait for the program
 *     said                 count of the bytes that have gone out on it
 *     resets               how many there were
 *
 * It is linked with libsimavr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_adc.h>
#include <simavr/avr_eeprom.h>
#include <simavr/avr_ioport.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_cycle_timers.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_time.h>

enum {
	FREQUENCY = 16000000,
	BYTE_US = 1042,      /* of the line at 9600 baud */
	LED_PIN = 7,         /* of port D */
	DHT_PIN = 2,         /* of port D */
	EEPROM_USED = 512,
	PAINT = 0xa5,
};

static avr_t *avr;
static double speed = 1;
static int resets;    /* by the watchdog, by the button */
static int has_reset; /* and the main loop has not seen it yet */

static void die(const char *what)
{
	fprintf(stderr, "simboard: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double microseconds(avr_cycle_count_t cycles) { return cycles * 1e6 / FREQUENCY; }

/* ---- the line ---- */

static int line = -1; /* the terminal's master side */
static int heard, said; /* bytes */

static void open_line(void)
{
	struct termios raw;
	int other;

	line = posix_openpt(O_RDWR | O_NOCTTY);
	if (line < 0 || grantpt(line) || unlockpt(line))
		die("pseudo-terminal");
	/* Held open here too: a gateway that leaves does not hang the line up. */
	other = open(ptsname(line), O_RDWR | O_NOCTTY);
	if (other < 0 || tcgetattr(other, &raw))
		die("pseudo-terminal");
	cfmakeraw(&raw);
	tcsetattr(other, TCSANOW, &raw);
	printf("%s\n", ptsname(line));
	fflush(stdout);
}

/* What nobody reads is lost, as on a radio link that is down. */
static void say(avr_irq_t *irq, uint32_t value, void *param)
{
	struct pollfd room = {.fd = line, .events = POLLOUT};
	uint8_t byte = value;

	if (poll(&room, 1, 0) != 1)
		return;
	if (write(line, &byte, 1) == 1)
		said++;
	else if (errno != EAGAIN)
		die("write");
}

static avr_cycle_count_t hear(avr_t *a, avr_cycle_count_t when, void *param)
{
	struct pollfd in = {.fd = line, .events = POLLIN};
	uint8_t byte;

	if (poll(&in, 1, 0) == 1 && (in.revents & POLLIN) && read(line, &byte, 1) == 1) {
		heard++;
		avr_raise_irq(param, byte);
	}
	return when + avr_usec_to_cycles(avr, BYTE_US);
}

static int told(void)
{
	int waiting;

	if (ioctl(line, FIONREAD, &waiting))
		die("FIONREAD");
	return heard + waiting;
}

/* ---- the GP2Y10 ---- */

static uint32_t dust_mv;
static avr_irq_t *dust_out;
static struct {
	int on, begun, count, samples;
	avr_cycle_count_t at;                                             /* when the LED went on */
	double width_least, width_most, sample_least, sample_most, cycle_least, cycle_most; /* µs */
} led;

static void widen(double *least, double *most, double value)
{
	if (*least == 0 || value < *least)
		*least = value;
	if (value > *most)
		*most = value;
}

static void drive_led(avr_irq_t *irq, uint32_t value, void *param)
{
	if ((value == 0) == led.on)
		return;
	led.on = !value;
	if (led.on) {
		if (led.begun)
			widen(&led.cycle_least, &led.cycle_most, microseconds(avr->cycle - led.at));
		led.at = avr->cycle;
		led.begun = 1;
		return;
	}
	led.count++;
	widen(&led.width_least, &led.width_most, microseconds(avr->cycle - led.at));
}

/* The converter begins: the sensor's output is a pulse whose top is 0.28 ms after
 * the LED went on, and dark without it. */
static void sample(avr_irq_t *irq, uint32_t value, void *param)
{
	double us = microseconds(avr->cycle - led.at);
	int top = led.on && us >= 260 && us <= 300;

	if (led.on) {
		led.samples++;
		widen(&led.sample_least, &led.sample_most, us);
	}
	avr_raise_irq(dust_out, top ? dust_mv : dust_mv / 3);
}

/* ---- the DHT ---- */

static struct {
	avr_irq_t *pin;
	uint8_t bytes[5];
	int bits; /* that it answers: 40 when it is well, -1 when it is off */
	int held; /* the board holds the line low */
	avr_cycle_count_t since;
	int calls;
	double shortest; /* µs */
	int edge;
} dht = {.bits = -1};

/* One edge of an answer, and how long until the next: 80 µs low and high, then for
 * each bit 50 µs low and 26 or 70 µs high, then 50 µs low. */
static avr_cycle_count_t dht_edge(avr_t *a, avr_cycle_count_t when, void *param)
{
	int edge = dht.edge++, bit = (edge - 2) / 2;
	int low = edge % 2 == 0;
	uint32_t us = 80;

	if (edge >= 2 + 2 * dht.bits + 1) {
		avr_raise_irq(dht.pin, 1);
		return 0;
	}
	avr_raise_irq(dht.pin, !low);
	if (edge >= 2)
		us = low ? 50 : dht.bytes[bit / 8] >> (7 - bit % 8) & 1 ? 70 : 26;
	return when + avr_usec_to_cycles(avr, us);
}

static void dht_direction(avr_irq_t *irq, uint32_t value, void *param)
{
	int held = value >> DHT_PIN & 1;
	double us = microseconds(avr->cycle - dht.since);

	if (held == dht.held)
		return;
	dht.held = held;
	if (held) {
		dht.since = avr->cycle;
		return;
	}
	avr_raise_irq(dht.pin, 1); /* the resistor */
	dht.calls++;
	if (dht.shortest == 0 || us < dht.shortest)
		dht.shortest = us;
	if (dht.bits < 0 || us < 18000)
		return;
	dht.edge = 0;
	avr_cycle_timer_register_usec(avr, 30, dht_edge, NULL);
}

/* ---- the program's memory ---- */

static uint16_t stack_floor; /* the first byte after the variables */

static void paint_stack(void)
{
	for (int i = stack_floor; i <= avr->ramend; i++)
		avr->data[i] = PAINT;
}

static int stack_used(void)
{
	int i = stack_floor;

	while (i <= avr->ramend && avr->data[i] == PAINT)
		i++;
	return avr->ramend + 1 - i;
}

/* An endless loop where there is no program; interrupts still come and go. */
static void hang(void)
{
	uint32_t end = avr->flashend - 1;

	avr->flash[end] = 0xff; /* rjmp .-2 */
	avr->flash[end + 1] = 0xcf;
	avr->pc = end;
}

/* ---- resets ---- */

static void note_reset(struct avr_io_t *io)
{
	resets++;
	has_reset = 1;
}

static avr_io_t self = {.kind = "simboard", .reset = note_reset};

/* What a reset takes with it: all timers. */
static void begin(void)
{
	led.begun = led.on = dht.held = 0;
	avr_raise_irq(dht.pin, 1);
	avr_cycle_timer_register_usec(avr, BYTE_US, hear, avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT));
}

/* ---- time ---- */

static int64_t passing; /* cycles until `pass` answers; 0 when none is under way */

/* pass_time is told how many cycles went by since the last time. */
static void pass_time(avr_cycle_count_t cycles)
{
	if (passing == 0)
		return;
	passing -= cycles;
	if (passing > 0)
		return;
	passing = 0;
	printf("ok\n");
	fflush(stdout);
}

/* ---- commands ---- */

static uint8_t *eeprom(void)
{
	avr_eeprom_desc_t all = {.size = EEPROM_USED};

	avr_ioctl(avr, AVR_IOCTL_EEPROM_GET, &all);
	if (!all.ee)
		die("eeprom");
	return all.ee;
}

static void print_eeprom(void)
{
	for (int i = 0; i < EEPROM_USED; i++)
		printf("%02x", eeprom()[i]);
	printf("\n");
}

static void set_dht(int n, unsigned a, unsigned b, unsigned c, unsigned d, unsigned sum)
{
	uint8_t bytes[5] = {a, b, c, d, n == 5 ? sum : a + b + c + d};

	memcpy(dht.bytes, bytes, sizeof bytes);
	dht.bits = 40;
	printf("ok\n");
}

static void obey(const char *text)
{
	unsigned a, b, c, d, sum;
	int n;

	if (sscanf(text, "dust %u", &a) == 1) {
		dust_mv = a;
		printf("ok\n");
	} else if ((n = sscanf(text, "dht %u %u %u %u %u", &a, &b, &c, &d, &sum)) >= 4) {
		set_dht(n, a, b, c, d, sum);
	} else if (sscanf(text, "dht cut %u", &a) == 1 && a <= 40) {
		dht.bits = a;
		printf("ok\n");
	} else if (strcmp(text, "dht off\n") == 0) {
		dht.bits = -1;
		printf("ok\n");
	} else if (strcmp(text, "pulses\n") == 0) {
		printf("%d %d %.1f %.1f %.1f %.1f %.1f %.1f\n", led.count, led.samples, led.width_least, led.width_most,
		       led.sample_least, led.sample_most, led.cycle_least, led.cycle_most);
		memset(&led, 0, sizeof led);
	} else if (strcmp(text, "calls\n") == 0) {
		printf("%d %.1f\n", dht.calls, dht.shortest);
		dht.calls = 0;
		dht.shortest = 0;
	} else if (strcmp(text, "eeprom\n") == 0) {
		print_eeprom();
	} else if (sscanf(text, "spoil %u", &a) == 1 && a < EEPROM_USED) {
		eeprom()[a] ^= 0x10;
		printf("ok\n");
	} else if (strcmp(text, "stack\n") == 0) {
		printf("%d\n", stack_used());
	} else if (strcmp(text, "hang\n") == 0) {
		hang();
		printf("ok\n");
	} else if (strcmp(text, "reset\n") == 0) {
		avr_reset(avr);
		printf("ok\n");
	} else if (sscanf(text, "pass %u", &a) == 1 && a > 0) {
		passing = (int64_t)a * (FREQUENCY / 1000);
	} else if (strcmp(text, "told\n") == 0) {
		printf("%d\n", told());
	} else if (strcmp(text, "said\n") == 0) {
		printf("%d\n", said);
	} else if (strcmp(text, "resets\n") == 0) {
		printf("%d\n", resets);
	} else {
		printf("no such command\n");
	}
	fflush(stdout);
}

/* obey_waiting obeys the commands that are there, or one after the other as long as
 * time stands still. */
static int obey_waiting(void)
{
	static char text[128];
	static size_t length;
	struct pollfd in = {.fd = 0, .events = POLLIN};

	while (passing == 0 && poll(&in, 1, speed == 0 ? -1 : 0) == 1) {
		if (length == sizeof text - 1 || read(0, text + length, 1) != 1)
			return 0;
		if (text[length++] != '\n')
			continue;
		text[length] = 0;
		length = 0;
		obey(text);
	}
	return 1;
}

/* ---- the machine ---- */

/* Time passes in keep_pace; a program that sleeps is not slept with. */
static void asleep(avr_t *a, avr_cycle_count_t cycles) { }

static double wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* keep_pace sleeps when the simulation is ahead. A host that was too slow does not
 * make it run faster later. */
static void keep_pace(void)
{
	static double begun;
	double ahead;

	if (speed == 0)
		return;
	ahead = microseconds(avr->cycle) / speed - (wall() - begun);
	if (begun == 0 || ahead < -50000)
		begun = wall() - microseconds(avr->cycle) / speed;
	else if (ahead > 1000)
		usleep(ahead);
}

static void quiet(avr_t *a, const int level, const char *format, va_list args)
{
	if (level <= LOG_ERROR)
		vfprintf(stderr, format, args);
}

static void build(const char *file)
{
	elf_firmware_t program = {0};
	uint32_t flags = 0;

	if (elf_read_firmware(file, &program))
		die(file);
	avr = avr_make_mcu_by_name("atmega328p");
	if (!avr)
		die("atmega328p");
	avr_init(avr);
	avr->frequency = program.frequency = FREQUENCY;
	avr->vcc = avr->avcc = avr->aref = 5000;
	avr->sleep = asleep;
	avr_load_firmware(avr, &program);
	stack_floor = 0x100 + program.datasize + program.bsssize;
	paint_stack();

	avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), say, NULL);

	dust_out = avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_ADC0);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_OUT_TRIGGER), sample, NULL);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('D'), LED_PIN), drive_led, NULL);

	dht.pin = avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('D'), DHT_PIN);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('D'), IOPORT_IRQ_DIRECTION_ALL), dht_direction, NULL);
}

int main(int argc, char **argv)
{
	if (argc < 2 || argc > 3 || (argc == 3 && (speed = atof(argv[2])) < 0)) {
		fprintf(stderr, "usage: simboard dust.elf [SPEED]\n");
		return 2;
	}
	avr_global_logger_set(quiet);
	build(argv[1]);
	avr_register_io(avr, &self);
	open_line();
	begin();
	for (avr_cycle_count_t next = 0, last = 0;;) {
		int state = avr_run(avr);

		if (state == cpu_Done || state == cpu_Crashed) {
			fprintf(stderr, "simboard: the program %s at %#x\n", state == cpu_Done ? "ended" : "crashed", avr->pc);
			return 1;
		}
		if (has_reset) {
			has_reset = 0;
			next = last = avr->cycle; /* simavr may have begun to count again */
			begin();
		}
		if (avr->cycle < next)
			continue;
		pass_time(avr->cycle - last);
		last = avr->cycle;
		keep_pace();
		if (!obey_waiting())
			return 0;
		next = avr->cycle + FREQUENCY / 1000;
	}
}
