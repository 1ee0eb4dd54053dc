package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
)

const (
	clientBits = 4
	clientMax  = 1<<clientBits - 1
	// What comes before the text of an id in JSON. Fresh ids need bodies in exactly this form.
	idMark  = `"event_id":"`
	hexBits = "0123456789abcdef"
)

// body is a whole request, and where the ids of its events begin in it.
type body struct {
	request []byte
	ids     []int
}

func readBodies(o *options) ([]body, error) {
	text, err := os.ReadFile(o.bodies)
	if err != nil {
		return nil, fmt.Errorf("-bodies: %w", err)
	}
	var found []body
	for len(text) > 0 {
		if len(text) < 4 || len(text)-4 < int(binary.BigEndian.Uint32(text)) {
			return nil, fmt.Errorf("-bodies=%s: the file ends inside body %d", o.bodies, len(found))
		}
		size := int(binary.BigEndian.Uint32(text))
		one, err := newBody(o, text[4:4+size])
		if err != nil {
			return nil, fmt.Errorf("-bodies=%s: body %d: %w", o.bodies, len(found), err)
		}
		found = append(found, one)
		text = text[4+size:]
		if o.freshIDs && len(found[len(found)-1].ids) != o.eventsPerBody {
			return nil, fmt.Errorf("-fresh-ids: body %d does not hold %s %d times", len(found)-1, idMark, o.eventsPerBody)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("-bodies=%s: the file holds no body", o.bodies)
	}
	return found, nil
}

func newBody(o *options, payload []byte) (body, error) {
	what := "POST " + o.path
	if o.whole {
		line, rest, found := bytes.Cut(payload, []byte("\n"))
		if method, path, two := bytes.Cut(line, []byte(" ")); !found || !two || len(method) == 0 || !isPath(path) {
			return body{}, fmt.Errorf("%.100q: with -whole the first line is METHOD /PATH", line)
		}
		what, payload = string(line), rest
	}
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s HTTP/1.1\r\nHost: %s\r\n", what, o.host)
	if !o.whole || len(payload) > 0 {
		fmt.Fprintf(&request, "Content-Length: %d\r\n", len(payload))
	}
	for _, line := range o.headers {
		fmt.Fprintf(&request, "%s\r\n", line)
	}
	request.WriteString("\r\n")
	one := body{}
	for at := 0; o.freshIDs; {
		next := bytes.Index(payload[at:], []byte(idMark))
		if next < 0 {
			break
		}
		at += next + len(idMark)
		one.ids = append(one.ids, request.Len()+at)
	}
	request.Write(payload)
	one.request = request.Bytes()
	return one, nil
}

// isPath says whether a line of a request can have this path.
func isPath(path []byte) bool {
	return bytes.HasPrefix(path, []byte("/")) && !bytes.ContainsAny(path, " \r")
}

// fresh returns the request with the client and the number as the first eight digits of each id. It uses `room`.
func (b *body) fresh(room []byte, client uint, number int64) []byte {
	if len(b.ids) == 0 {
		return b.request
	}
	room = append(room[:0], b.request...)
	first := uint32(client)<<(32-clientBits) | uint32(number)
	var digits [8]byte
	for n := range digits {
		digits[n] = hexBits[first>>(28-4*n)&15]
	}
	for _, at := range b.ids {
		copy(room[at:], digits[:])
	}
	return room
}
