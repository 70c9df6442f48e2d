package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// magic begins every protobuf object, stored or sent.
const magic = "k8s\x00"

// Tags of the envelope (runtime.Unknown) and of its type (runtime.TypeMeta): field number and wire type 2.
const (
	tagType     = 0x0a
	tagPayload  = 0x12
	tagEncoding = 0x1a
	tagContent  = 0x22
)

// envelopeTail is the envelope's empty contentEncoding and contentType, which upstream always writes.
const envelopeTail = "\x1a\x00\x22\x00"

// appendEnvelopeHead appends all of the envelope that stands before the payload's length.
func appendEnvelopeHead(dst []byte, apiVersion, kindName string) []byte {
	dst = append(dst, magic...)
	size := 2 + varintSize(len(apiVersion)) + len(apiVersion) + varintSize(len(kindName)) + len(kindName)
	dst = append(dst, tagType)
	dst = appendVarint(dst, size)
	dst = append(dst, 0x0a)
	dst = appendVarint(dst, len(apiVersion))
	dst = append(dst, apiVersion...)
	dst = append(dst, 0x12)
	dst = appendVarint(dst, len(kindName))
	dst = append(dst, kindName...)
	return append(dst, tagPayload)
}

// envelopeSize is the size of an enveloped payload.
func envelopeSize(head []byte, payload int) int {
	return len(head) + varintSize(payload) + payload + len(envelopeTail)
}

// envelope is an opened protobuf envelope; its payload is part of the body.
type envelope struct {
	apiVersion, kind string
	payload          []byte
	encoding         string
}

var errTruncated = errors.New("provided data is truncated")

// openEnvelope reads an envelope without copying the payload.
func openEnvelope(body []byte) (envelope, error) {
	var e envelope
	if len(body) < len(magic) || string(body[:len(magic)]) != magic {
		return e, errors.New("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
	}
	rest := body[len(magic):]
	for len(rest) > 0 {
		number, value, after, err := nextField(rest)
		if err != nil {
			return e, err
		}
		rest = after
		switch number {
		case tagType >> 3:
			if err := e.readType(value); err != nil {
				return e, err
			}
		case tagPayload >> 3:
			e.payload = value
		case tagEncoding >> 3:
			e.encoding = string(value)
		case tagContent >> 3:
		}
	}
	if e.encoding != "" {
		return e, fmt.Errorf("unknown contentEncoding %q", e.encoding)
	}
	return e, nil
}

func (e *envelope) readType(b []byte) error {
	for len(b) > 0 {
		number, value, after, err := nextField(b)
		if err != nil {
			return err
		}
		b = after
		switch number {
		case 1:
			e.apiVersion = string(value)
		case 2:
			e.kind = string(value)
		}
	}
	return nil
}

// nextField reads one field; value is empty for those that are no bytes.
func nextField(b []byte) (number uint64, value, rest []byte, err error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, errTruncated
	}
	b = b[n:]
	switch tag & 7 {
	case 0:
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, nil, nil, errTruncated
		}
		return tag >> 3, nil, b[n:], nil
	case 1:
		if len(b) < 8 {
			return 0, nil, nil, errTruncated
		}
		return tag >> 3, nil, b[8:], nil
	case 2:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return 0, nil, nil, errTruncated
		}
		return tag >> 3, b[n : n+int(size)], b[n+int(size):], nil
	case 5:
		if len(b) < 4 {
			return 0, nil, nil, errTruncated
		}
		return tag >> 3, nil, b[4:], nil
	}
	return 0, nil, nil, fmt.Errorf("protobuf wire type %d is not supported", tag&7)
}
