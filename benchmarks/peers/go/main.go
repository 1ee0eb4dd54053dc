// A plain ingest service: what a Go programmer would write in an afternoon to do the work of services/ingest.
//
// It validates JSON and NDJSON as services/ingest/packing.py does, gathers events by salt for 50 ms, writes ViewBatch
// records with acks=all, and answers when Kafka has acknowledged them. benchmarks/contenders/ingest_services.py says
// what it guarantees less. It listens on loopback addresses only.
package main

import (
	"bytes"
	"encoding/hex"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	bodyBytesMax   = 8 << 20
	recordBytesMax = 4 << 20
	batchEventsMax = 2000
	linger         = 50 * time.Millisecond
	heartbeat      = time.Second
)

var (
	listen     = flag.String("listen", "127.0.0.1:8080", "where it listens; a loopback address")
	brokers    = flag.String("brokers", "127.0.0.1:9092", "Kafka's address")
	topic      = flag.String("topic", "view-events", "the topic that is written")
	prefix     = flag.String("prefix", "", "the ten bytes of ViewBatch in single-object encoding, in hex")
	salts      = flag.Int("salts", 16, "how many salts the topic has")
	partitions = flag.Int("partitions", 4, "how many partitions the topic has")
	pastMs     = flag.Int64("past-ms", 0, "how long ago an event may have been viewed")
	futureMs   = flag.Int64("future-ms", 0, "how far ahead an event may have been viewed")
)

func read(q *http.Request, w http.ResponseWriter) ([]byte, error) {
	var in io.Reader = http.MaxBytesReader(w, q.Body, bodyBytesMax)
	if q.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = http.MaxBytesReader(w, unpacked, bodyBytesMax)
	}
	var body bytes.Buffer
	body.Grow(int(max(q.ContentLength, 0)) + bytes.MinRead)
	_, err := body.ReadFrom(in)
	return body.Bytes(), err
}

func parse(media string, body []byte, r *result) (events []event, indexes []int, err error) {
	if media != "application/x-ndjson" {
		var all struct {
			Events []event `json:"events"`
		}
		err = json.UnmarshalNoEscape(body, &all)
		for index := range all.Events {
			indexes = append(indexes, index)
		}
		return all.Events, indexes, err
	}
	index := -1
	for line := range bytes.Lines(body) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		index++
		var e event
		if err := json.UnmarshalNoEscape(line, &e); err != nil {
			r.Rejected = append(r.Rejected, rejection{index, "", err.Error()})
			continue
		}
		events, indexes = append(events, e), append(indexes, index)
	}
	return events, indexes, nil
}

func (w *writer) post(out http.ResponseWriter, q *http.Request) {
	r := result{Rejected: []rejection{}}
	body, err := read(q, out)
	var events []event
	var indexes []int
	if err == nil {
		events, indexes, err = parse(q.Header.Get("Content-Type"), body, &r)
	}
	if err != nil {
		r.Error = err.Error()
		answer(out, http.StatusBadRequest, &r)
		return
	}
	nowMs := time.Now().UnixMilli()
	places := make([]place, 0, len(events))
	datum := make([]byte, 0, 512)
	w.Lock()
	for n := range events {
		encoded, salt, wrong := encode(datum[:0], &events[n], indexes[n], nowMs, &r)
		if wrong.Reason != "" {
			r.Rejected = append(r.Rejected, wrong)
			continue
		}
		places = append(places, place{w.add(int(salt), encoded), indexes[n]})
	}
	w.Unlock()
	for _, at := range places {
		<-at.batch.done
		if at.batch.err != nil {
			r.Rejected = append(r.Rejected, rejection{at.index, "", "not written, send it again: " + at.batch.err.Error()})
			continue
		}
		r.Accepted++
	}
	switch {
	case r.Accepted > 0:
		answer(out, http.StatusAccepted, &r)
	case len(places) > 0:
		answer(out, http.StatusServiceUnavailable, &r)
	default:
		r.Error = "no event in the body is usable"
		answer(out, http.StatusBadRequest, &r)
	}
}

func answer(out http.ResponseWriter, status int, r *result) {
	text, _ := json.Marshal(r)
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	out.Write(text)
}

func main() {
	flag.Parse()
	runtime.GOMAXPROCS(1)
	uuid.EnableRandPool()
	host, _, err := net.SplitHostPort(*listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		log.Fatalf("-listen=%s: give a loopback address and a port, such as 127.0.0.1:8080", *listen)
	}
	name, err := hex.DecodeString(*prefix)
	if err != nil || len(name) != 10 {
		log.Fatalf("-prefix=%s: give the ten bytes of the schema in hex", *prefix)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(*brokers), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(time.Millisecond), kgo.ProducerBatchMaxBytes(recordBytesMax),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordDeliveryTimeout(30*time.Second),
	)
	if err != nil {
		log.Fatal(err)
	}
	w := &writer{client: client, prefix: name, open: make([]*batch, *salts), sentAt: make([]time.Time, *salts)}
	go w.heartbeats()
	http.HandleFunc("POST /v1/events", w.post)
	http.HandleFunc("GET /readyz", func(out http.ResponseWriter, q *http.Request) {
		if err := client.Ping(q.Context()); err != nil {
			http.Error(out, err.Error(), http.StatusServiceUnavailable)
		}
	})
	log.Fatal(http.ListenAndServe(*listen, nil))
}
