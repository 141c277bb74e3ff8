package eval

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
)

// ofHash makes a function of the UTF-8 bytes of a String, whose result is a
// checksum in lower-case hex (AWS IoT SQL reference, "Hashing functions").
func ofHash(sum func(b []byte) []byte) function {
	return ofText(func(s string) Value { return text(hex.EncodeToString(sum([]byte(s)))) })
}

func sumMD5(b []byte) []byte    { h := md5.Sum(b); return h[:] }
func sumSHA1(b []byte) []byte   { h := sha1.Sum(b); return h[:] }
func sumSHA224(b []byte) []byte { h := sha256.Sum224(b); return h[:] }
func sumSHA256(b []byte) []byte { h := sha256.Sum256(b); return h[:] }
func sumSHA384(b []byte) []byte { h := sha512.Sum384(b); return h[:] }
func sumSHA512(b []byte) []byte { h := sha512.Sum512(b); return h[:] }

const md2Block = 16

// sumMD2 is the MD2 message digest (RFC 1319).
func sumMD2(b []byte) []byte {
	pad := md2Block - len(b)%md2Block
	data := make([]byte, len(b), len(b)+pad+md2Block)
	copy(data, b)
	for range pad {
		data = append(data, byte(pad))
	}
	data = append(data, md2Checksum(data)...)
	var x [3 * md2Block]byte
	for ; len(data) > 0; data = data[md2Block:] {
		for i, c := range data[:md2Block] {
			x[md2Block+i] = c
			x[2*md2Block+i] = c ^ x[i]
		}
		t := byte(0)
		for round := range 18 {
			for k := range x {
				x[k] ^= md2Table[t]
				t = x[k]
			}
			t += byte(round)
		}
	}
	return x[:md2Block]
}

// md2Checksum is step 2 of RFC 1319, with the xor of its erratum 555.
func md2Checksum(data []byte) []byte {
	sum, last := make([]byte, md2Block), byte(0)
	for i, c := range data {
		sum[i%md2Block] ^= md2Table[c^last]
		last = sum[i%md2Block]
	}
	return sum
}

// md2Table is the permutation of the bytes that RFC 1319 (section 3.2) makes from
// the digits of pi.
var md2Table = [256]byte{
	41, 46, 67, 201, 162, 216, 124, 1, 61, 54, 84, 161, 236, 240, 6, 19,
	98, 167, 5, 243, 192, 199, 115, 140, 152, 147, 43, 217, 188, 76, 130, 202,
	30, 155, 87, 60, 253, 212, 224, 22, 103, 66, 111, 24, 138, 23, 229, 18,
	190, 78, 196, 214, 218, 158, 222, 73, 160, 251, 245, 142, 187, 47, 238, 122,
	169, 104, 121, 145, 21, 178, 7, 63, 148, 194, 16, 137, 11, 34, 95, 33,
	128, 127, 93, 154, 90, 144, 50, 39, 53, 62, 204, 231, 191, 247, 151, 3,
	255, 25, 48, 179, 72, 165, 181, 209, 215, 94, 146, 42, 172, 86, 170, 198,
	79, 184, 56, 210, 150, 164, 125, 182, 118, 252, 107, 226, 156, 116, 4, 241,
	69, 157, 112, 89, 100, 113, 135, 32, 134, 91, 207, 101, 230, 45, 168, 2,
	27, 96, 37, 173, 174, 176, 185, 246, 28, 70, 97, 105, 52, 64, 126, 15,
	85, 71, 163, 35, 221, 81, 175, 58, 195, 92, 249, 206, 186, 197, 234, 38,
	44, 83, 13, 110, 133, 40, 132, 9, 211, 223, 205, 244, 65, 129, 77, 82,
	106, 220, 55, 200, 108, 193, 171, 250, 36, 225, 123, 8, 12, 189, 177, 74,
	120, 136, 149, 139, 227, 99, 232, 109, 233, 203, 213, 254, 59, 0, 29, 57,
	242, 239, 183, 14, 102, 88, 208, 228, 166, 119, 114, 248, 235, 117, 75, 10,
	49, 68, 80, 180, 143, 237, 31, 26, 219, 153, 141, 51, 159, 17, 131, 20,
}
