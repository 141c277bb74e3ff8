# make up     builds mote and runs everything on this machine
# make test   runs every check and test; as root it installs what they need
.PHONY: up build gateway test check unit narrow fuzz torture bench cross tools firmware
.PHONY: test-bluetooth machines deb

GO      ?= go
LDFLAGS := -s -w
# AWS and REST servers all speak HTTP/1.1; HTTP/2 would be half a megabyte.
TAGS    := nethttpomithttp2

up: build
	./bin/mote up

build:
	CGO_ENABLED=0 $(GO) build -tags $(TAGS) -trimpath -ldflags '$(LDFLAGS)' -o bin/mote ./cmd/mote

# The gateway and its tools alone, without the cloud: bin/mote-gateway, for
# machines with little memory and small cards.
gateway:
	CGO_ENABLED=0 $(GO) build -tags gateway,$(TAGS) -trimpath -ldflags '$(LDFLAGS)' -o bin/mote-gateway ./cmd/mote

# Debian packages, bin/mote_VERSION_ARCH.deb; armhf is for a Raspberry Pi of any age.
deb:
	./packaging/deb amd64 arm64 armhf

test: tools check cross unit narrow machines

# The tests talk to real clients: mosquitto, the AWS CLI, boto3, curl, a browser.
tools:
	./test/install-tools

check:
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); test -z "$$files" || { echo "gofmt would change: $$files"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags gateway ./cmd/mote
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags gateway ./cmd/mote

# One architecture of each kind that boards' gateways have.
cross:
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=6 $(GO) build -tags gateway -o /dev/null ./cmd/mote
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=6 $(GO) build -o /dev/null ./cmd/mote
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/mote

# The whole-system tests have the machine to themselves: they kill, freeze and
# time real processes.
unit: build
	$(GO) test -race $$($(GO) list ./... | grep -v '^mote/test$$\|^mote/test/bluetooth$$\|^mote/test/systemd$$\|^mote/test/weather$$')
	$(GO) test -race -timeout 25m ./test

# Boards over Bluetooth, with a kernel's own stack in a virtual machine and
# emulated adapters. It says so when the machine is missing here.
test-bluetooth:
	./test/install-tools machine
	$(GO) test ./test/bluetooth -count=1 -v

# All tests in virtual machines: Bluetooth, the service under systemd, and
# networks with loss and delay.
machines:
	MOTE_TEST_MACHINES=1 $(GO) test -p 1 ./test/bluetooth ./test/systemd ./test/weather -count=1 -v

# Small gateways have 32-bit integers: what computes with numbers and sizes runs
# as such a program too, where the machine can.
NARROW := ./internal/reading ./internal/mqtt ./internal/iotsql/... ./internal/sigv4 ./internal/cloud/table ./internal/edge/frame ./internal/edge/spool
narrow:
ifeq ($(shell $(GO) env GOHOSTARCH),amd64)
	CGO_ENABLED=0 GOARCH=386 $(GO) test $(NARROW)
endif

# Every fuzz target, for FUZZTIME each.
FUZZTIME ?= 30s
fuzz:
	./test/fuzz $(FUZZTIME)

# kill -9 of gateway and cloud under load, twenty times each.
torture: build
	$(GO) test ./test/... -run 'Torture' -count=1 -v -timeout 60m -torture=20

bench: build gateway
	./bench/run

# firmware/dust for an ATmega328P, with Debian's gcc-avr, avr-libc and
# arduino-core-avr: bin/firmware/dust.elf for the simulator, dust.hex for avrdude.
# BOARD is the variant, eightanaloginputs for Nano and Pro Mini: the same program.
ARDUINO  ?= /usr/share/arduino/hardware/arduino/avr
BOARD    ?= standard
FIRMWARE ?= $(CURDIR)/bin/firmware
AVRFLAGS := -mmcu=atmega328p -DF_CPU=16000000L -DARDUINO=10819 -DARDUINO_AVR_UNO -DARDUINO_ARCH_AVR -Os -g -flto \
	-ffunction-sections -fdata-sections -I$(ARDUINO)/cores/arduino -I$(ARDUINO)/variants/$(BOARD)
# GCC 5's float.h has no DECIMAL_DIG for C++, and the core wants it.
AVRCXX   := -std=gnu++11 -DDECIMAL_DIG=__DECIMAL_DIG__ -fno-exceptions -fno-threadsafe-statics
firmware:
	@rm -rf $(FIRMWARE) && mkdir -p $(FIRMWARE)/core
	@cd $(FIRMWARE)/core && avr-gcc $(AVRFLAGS) -w -std=gnu11 -c $(ARDUINO)/cores/arduino/*.c
	@cd $(FIRMWARE)/core && avr-gcc $(AVRFLAGS) -w -x assembler-with-cpp -c $(ARDUINO)/cores/arduino/*.S
	@cd $(FIRMWARE)/core && avr-g++ $(AVRFLAGS) $(AVRCXX) -w -fpermissive -c $(ARDUINO)/cores/arduino/*.cpp
	@avr-gcc-ar rcs $(FIRMWARE)/core.a $(FIRMWARE)/core/*.o
	@avr-g++ $(AVRFLAGS) $(AVRCXX) $(SKETCHFLAGS) -Wall -Wextra -Werror -include Arduino.h -x c++ -c firmware/dust/dust.ino -o $(FIRMWARE)/dust.o
	@avr-gcc $(AVRFLAGS) -w -fuse-linker-plugin -Wl,--gc-sections $(FIRMWARE)/dust.o $(FIRMWARE)/core.a -lm -o $(FIRMWARE)/dust.elf
	@avr-objcopy -O ihex -R .eeprom $(FIRMWARE)/dust.elf $(FIRMWARE)/dust.hex
	avr-size $(FIRMWARE)/dust.elf
