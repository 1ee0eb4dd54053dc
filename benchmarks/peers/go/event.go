package main

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/spaolacci/murmur3"
)

type event struct {
	VideoID  *string `json:"video_id"`
	EventID  *string `json:"event_id"`
	ViewedAt *stamp  `json:"viewed_at"`
	Kind     *string `json:"kind"`
	ViewerID *string `json:"viewer_id"`
	Country  *string `json:"country"`
	Device   *string `json:"device"`
}

// stamp is ms since 1970, from a number or from a text of RFC 3339.
type stamp int64

func (s *stamp) UnmarshalJSON(raw []byte) error {
	if len(raw) > 1 && raw[0] == '"' {
		at, err := time.Parse(time.RFC3339Nano, string(raw[1:len(raw)-1]))
		*s = stamp(at.UnixMilli())
		return err
	}
	return json.Unmarshal(raw, (*int64)(s))
}

type rejection struct {
	Index  int    `json:"index"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
}

type made struct {
	Index    int    `json:"index"`
	EventID  string `json:"event_id"`
	ViewedAt int64  `json:"viewed_at"`
}

type result struct {
	Accepted int         `json:"accepted"`
	Rejected []rejection `json:"rejected"`
	EventIDs []made      `json:"event_ids,omitempty"`
	Error    string      `json:"error,omitempty"`
}

// text appends a string of Avro, behind the branch of a union if it is optional. It says whether the length is allowed.
func text(out []byte, value *string, least, most int, optional bool) ([]byte, bool) {
	if value == nil {
		return append(out, 0), optional
	}
	if optional {
		out = append(out, 2)
	}
	out = binary.AppendVarint(out, int64(len(*value)))
	return append(out, *value...), len(*value) >= least && len(*value) <= most
}

// encode appends the event in Avro. A rejection has a reason.
func encode(out []byte, e *event, index int, nowMs int64, r *result) ([]byte, uint32, rejection) {
	id, err := uuid.UUID{}, error(nil)
	viewedAt := nowMs
	if e.EventID != nil {
		if id, err = uuid.Parse(*e.EventID); err != nil {
			return out, 0, rejection{index, "event_id", err.Error()}
		}
		if id == uuid.Nil || id == uuid.Max {
			return out, 0, rejection{index, "event_id", "the nil UUID and the max UUID cannot be the id of an event"}
		}
		if e.ViewedAt == nil && id.Version() != 7 {
			return out, 0, rejection{index, "viewed_at", "missing: an event with an id needs its time"}
		}
		viewedAt = int64(binary.BigEndian.Uint64(id[:8]) >> 16)
	}
	if e.ViewedAt != nil {
		viewedAt = int64(*e.ViewedAt)
	}
	if viewedAt < nowMs-*pastMs || viewedAt > nowMs+*futureMs {
		return out, 0, rejection{index, "viewed_at", "too far from the service's clock"}
	}
	if e.EventID == nil {
		id = uuid.New()
	}
	view := "view"
	if e.Kind == nil {
		e.Kind = &view
	}
	if strings.HasPrefix(*e.Kind, "blocked:") {
		return out, 0, rejection{index, "kind", "begins with \"blocked:\", which is reserved"}
	}
	var fits [5]bool
	out = append(out, id[:]...)
	out, fits[0] = text(out, e.VideoID, 1, 64, false)
	out = binary.AppendVarint(out, viewedAt)
	out, fits[1] = text(out, e.Kind, 1, 32, false)
	out, fits[2] = text(out, e.ViewerID, 0, 64, true)
	out, fits[3] = text(out, e.Country, 0, 64, true)
	out, fits[4] = text(out, e.Device, 0, 64, true)
	for i, name := range [5]string{"video_id", "kind", "viewer_id", "country", "device"} {
		if !fits[i] {
			return out, 0, rejection{index, name, "missing, empty or too long"}
		}
	}
	if e.EventID == nil {
		r.EventIDs = append(r.EventIDs, made{index, id.String(), viewedAt})
	}
	return out, murmur3.Sum32(id[:]) % uint32(*salts), rejection{}
}
