package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/broker"
)

const (
	// chunkSize is well below the broker's smallest usual limit of a message (5 MiB).
	chunkSize = 1 << 20
	// readAhead is how many messages a reader may buffer; the client's default would be a gigabyte.
	readAhead = 4
	// stepTimeout bounds every single exchange with the broker, cleanUpTimeout what is done after a failure.
	stepTimeout    = 30 * time.Second
	cleanUpTimeout = 15 * time.Second

	topicPrefix = "package-"
	// keepSubscription holds the messages even in a namespace without retention, and the topic where idle ones are deleted.
	keepSubscription = "package"
)

// TopicAdmin is the part of the broker's admin API that the topic store needs.
type TopicAdmin interface {
	CreateTopic(ctx context.Context, topic string) error
	DeleteTopic(ctx context.Context, topic string, force bool) error
	CreateSubscription(ctx context.Context, topic, subscription string, position broker.Position) error
	Topics(ctx context.Context, namespace string) ([]string, error)
	TopicStats(ctx context.Context, topic string) (*broker.TopicStats, error)
}

// TopicStore keeps each package in a topic of its own, persistent://<namespace>/package-<hash of the key>: it needs
// nothing but the broker, and its packages are as durable as messages. Replacing a package keeps the old bytes in the
// topic until the package is deleted; keys made by NewKey are never replaced.
type TopicStore struct {
	client    pulsar.Client
	admin     TopicAdmin
	namespace string
	log       *zap.Logger
	chunk     int

	sweeping sync.Mutex
	empty    map[string]time.Time // topics without a message, and when a sweep first saw them so
}

// NewTopicStore makes a store in a namespace (tenant/namespace), which must exist. It does not close the client.
func NewTopicStore(client pulsar.Client, admin TopicAdmin, namespace string, log *zap.Logger) *TopicStore {
	if log == nil {
		log = zap.NewNop()
	}
	return &TopicStore{client: client, admin: admin, namespace: namespace, log: log, chunk: chunkSize}
}

// NewKey implements Store.
func (s *TopicStore) NewKey(_ Kind, tenant, namespace, name, fileName string) string {
	return pathKey(tenant, namespace, name, fileName)
}

// topic is where a key's package is. A key may hold any characters, hence the hash; the messages tell the key.
func (s *TopicStore) topic(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "persistent://" + s.namespace + "/" + topicPrefix + hex.EncodeToString(sum[:20])
}

// Put implements Store.
func (s *TopicStore) Put(ctx context.Context, key string, body io.Reader, info Info) (err error) {
	if err := checkKey(key); err != nil {
		return err
	}
	topic := s.topic(key)
	err = s.admin.CreateTopic(ctx, topic)
	created := err == nil
	if err != nil && !broker.IsConflict(err) {
		return fmt.Errorf("storing package %s: %w", key, err)
	}
	if created {
		defer func() {
			if err != nil {
				s.discard(ctx, topic)
			}
		}()
	}
	if err := s.admin.CreateSubscription(ctx, topic, keepSubscription, broker.Earliest); err != nil && !broker.IsConflict(err) {
		return fmt.Errorf("storing package %s: %w", key, err)
	}
	if err := s.write(ctx, topic, key, body, info); err != nil {
		return fmt.Errorf("storing package %s: %w", key, err)
	}
	return nil
}

// discard removes the topic of a failed upload. Without force: the broker then keeps it if another upload has begun.
func (s *TopicStore) discard(ctx context.Context, topic string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	if err := s.admin.DeleteTopic(ctx, topic, false); err != nil && !broker.IsNotFound(err) {
		s.log.Warn("the topic of a failed package upload remains; it is swept later", zap.String("topic", topic), zap.Error(err))
	}
}

func (s *TopicStore) write(ctx context.Context, topic, key string, body io.Reader, info Info) error {
	producer, err := await(ctx, func() (pulsar.Producer, error) {
		return s.client.CreateProducer(pulsar.ProducerOptions{
			Topic: topic, DisableBatching: true, MaxPendingMessages: readAhead,
			SendTimeout:        -1,                                 // each send has a context; the client's own timer would outlive the producer
			ProducerAccessMode: pulsar.ProducerAccessModeExclusive, // uploads of one key never mix
		})
	}, func(p pulsar.Producer) { p.Close() })
	if err != nil {
		var e *pulsar.Error
		if errors.As(err, &e) && e.Result() == pulsar.ProducerFenced || strings.Contains(err.Error(), "ProducerBusy") || strings.Contains(err.Error(), "ProducerFenced") {
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
		return err
	}
	defer producer.Close()
	if info.Created.IsZero() {
		info.Created = time.Now().UTC().Truncate(time.Millisecond)
	}
	info.Size = 0
	u := &upload{producer: producer, id: uuid.NewString(), sum: sha256.New(), notes: notes{Key: key, Info: info}}
	return u.run(ctx, body, make([]byte, s.chunk))
}

// upload is one writing of a package.
type upload struct {
	producer pulsar.Producer
	id       string
	sequence int64
	sum      hash.Hash
	notes    notes
}

func (u *upload) run(ctx context.Context, body io.Reader, buffer []byte) error {
	head, err := u.sendNotes(ctx, partHead)
	if err != nil {
		return err
	}
	u.notes.Head = head.Serialize()
	for {
		n, readErr := fill(body, buffer)
		if n > 0 {
			u.sum.Write(buffer[:n])
			u.notes.Info.Size += int64(n)
			u.notes.Parts++
			if _, err := u.send(ctx, partData, buffer[:n]); err != nil {
				return err
			}
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return fmt.Errorf("reading the upload: %w", readErr)
		}
	}
	u.notes.SHA256 = hex.EncodeToString(u.sum.Sum(nil))
	_, err = u.sendNotes(ctx, partEnd)
	return err
}

// fill reads until the buffer is full. Unlike io.ReadFull it tells the end of body (io.EOF) from a body that broke off.
func fill(body io.Reader, buffer []byte) (n int, err error) {
	for idle := 0; n < len(buffer) && err == nil; {
		var m int
		m, err = body.Read(buffer[n:])
		if n += m; m > 0 {
			idle = 0
		} else if idle++; idle > 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

func (u *upload) sendNotes(ctx context.Context, kind string) (pulsar.MessageID, error) {
	payload, err := json.Marshal(u.notes)
	if err != nil {
		return nil, err
	}
	if len(payload) > maxNotes {
		return nil, errors.New("description and properties are too long")
	}
	return u.send(ctx, kind, payload)
}

// send waits for the broker's receipt, so that the buffer can be used again.
func (u *upload) send(ctx context.Context, kind string, payload []byte) (pulsar.MessageID, error) {
	p := part{upload: u.id, kind: kind, sequence: u.sequence}
	u.sequence++
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	id, err := u.producer.Send(ctx, &pulsar.ProducerMessage{Payload: payload, Properties: p.properties()})
	if err != nil {
		return nil, fmt.Errorf("writing part %d: %w", p.sequence, err)
	}
	return id, nil
}

// Get implements Store.
func (s *TopicStore) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	id, end, err := s.find(ctx, key)
	if err != nil {
		return nil, Info{}, fmt.Errorf("opening package %s: %w", key, err)
	}
	head, err := pulsar.DeserializeMessageID(end.Head)
	if err != nil {
		return nil, Info{}, fmt.Errorf("opening package %s: %w: its end message names no beginning", key, ErrCorrupt)
	}
	reader, err := s.reader(ctx, s.topic(key), head)
	if err != nil {
		return nil, Info{}, fmt.Errorf("opening package %s: %w", key, err)
	}
	return &topicBody{ctx: ctx, key: key, reader: reader, parts: newAssembler(id, end)}, end.Info, nil
}

// Stat implements Store.
func (s *TopicStore) Stat(ctx context.Context, key string) (Info, error) {
	_, end, err := s.find(ctx, key)
	if err != nil {
		return Info{}, fmt.Errorf("looking for package %s: %w", key, err)
	}
	return end.Info, nil
}

// Delete implements Store.
func (s *TopicStore) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.admin.DeleteTopic(ctx, s.topic(key), true); err != nil && !broker.IsNotFound(err) {
		return fmt.Errorf("deleting package %s: %w", key, err)
	}
	return nil
}

// find gives upload id and end message of the newest complete upload.
func (s *TopicStore) find(ctx context.Context, key string) (string, notes, error) {
	if err := checkKey(key); err != nil {
		return "", notes{}, err
	}
	topic := s.topic(key)
	// Asked first, because a reader would create the topic.
	if _, err := s.admin.TopicStats(ctx, topic); err != nil {
		if broker.IsNotFound(err) {
			err = ErrNotFound
		}
		return "", notes{}, err
	}
	p, err := s.last(ctx, topic)
	if err != nil {
		return "", notes{}, err
	}
	if p.kind != partEnd { // an upload is under way, or broke off
		if p, err = s.lastEnd(ctx, topic, p); err != nil {
			return "", notes{}, err
		}
	}
	end, err := parseEnd(p, key)
	return p.upload, end, err
}

// last reads the newest message of a topic; ErrNotFound when it has none.
func (s *TopicStore) last(ctx context.Context, topic string) (part, error) {
	id, err := await(ctx, func() (pulsar.MessageID, error) {
		// Not inclusive: the client would seek, for which the broker closes the consumer, and may miss that. Closed here
		// and not by the caller: a reader that is closed while it is asked for its last message never answers.
		reader, err := s.client.CreateReader(pulsar.ReaderOptions{Topic: topic, StartMessageID: pulsar.LatestMessageID(), ReceiverQueueSize: readAhead})
		if err != nil {
			return nil, err
		}
		defer reader.Close()
		return reader.GetLastMessageID()
	}, nil)
	if err != nil {
		return part{}, err
	}
	if id.EntryID() < 0 {
		return part{}, ErrNotFound
	}
	reader, err := s.reader(ctx, topic, id)
	if err != nil {
		return part{}, err
	}
	defer reader.Close()
	return nextPart(ctx, reader)
}

// lastEnd searches the whole topic, up to the message before, for the newest end message.
func (s *TopicStore) lastEnd(ctx context.Context, topic string, before part) (part, error) {
	reader, err := s.reader(ctx, topic, pulsar.EarliestMessageID())
	if err != nil {
		return part{}, err
	}
	defer reader.Close()
	var end part
	for {
		p, err := nextPart(ctx, reader)
		if err != nil {
			return part{}, err
		}
		if p.kind == partEnd {
			end = p
		}
		if p.upload == before.upload && p.sequence == before.sequence {
			break
		}
	}
	if end.kind == "" {
		return part{}, ErrNotFound
	}
	return end, nil
}

func (s *TopicStore) reader(ctx context.Context, topic string, start pulsar.MessageID) (pulsar.Reader, error) {
	return await(ctx, func() (pulsar.Reader, error) {
		return s.client.CreateReader(pulsar.ReaderOptions{Topic: topic, StartMessageID: start, StartMessageIDInclusive: true,
			ReceiverQueueSize: readAhead})
	}, func(r pulsar.Reader) { r.Close() })
}

func nextPart(ctx context.Context, reader pulsar.Reader) (part, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	message, err := reader.Next(ctx)
	if err != nil {
		return part{}, fmt.Errorf("reading its topic: %w", err)
	}
	return parsePart(message.Properties(), message.Payload())
}

// topicBody reads one upload.
type topicBody struct {
	ctx    context.Context
	key    string
	reader pulsar.Reader
	parts  *assembler
	rest   []byte
	err    error
}

func (b *topicBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 && b.err == nil {
		b.rest, b.err = b.next()
	}
	if len(b.rest) == 0 {
		return 0, b.err
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *topicBody) next() ([]byte, error) {
	message, err := nextPart(b.ctx, b.reader)
	if err != nil {
		return nil, fmt.Errorf("reading package %s: %w", b.key, err)
	}
	data, done, err := b.parts.feed(message)
	if err != nil {
		return nil, fmt.Errorf("reading package %s: %w", b.key, err)
	}
	if done {
		return nil, io.EOF
	}
	return data, nil
}

func (b *topicBody) Close() error {
	if b.err == nil {
		b.err = errors.New("package was closed")
	}
	b.rest = nil
	b.reader.Close()
	return nil
}

// Sweep deletes the topics of uploads that broke off (their worker died) and began longer ago than age. One worker, the
// leader, calls it now and then. It returns how many it deleted. A topic without a message tells no time: it goes when
// it is still empty that long after an earlier sweep saw it.
func (s *TopicStore) Sweep(ctx context.Context, age time.Duration) (int, error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	seen := s.empty
	s.empty = map[string]time.Time{}
	topics, err := s.admin.Topics(ctx, s.namespace)
	if err != nil {
		return 0, fmt.Errorf("sweeping packages: %w", err)
	}
	deleted := 0
	for _, topic := range topics {
		if !strings.HasPrefix(topic, "persistent://"+s.namespace+"/"+topicPrefix) {
			continue
		}
		abandoned, err := s.abandoned(ctx, topic, age, seen)
		if err == nil && abandoned {
			err = s.admin.DeleteTopic(ctx, topic, false)
			deleted++
		}
		if ctx.Err() != nil {
			return deleted, fmt.Errorf("sweeping packages: %w", ctx.Err())
		}
		if err != nil {
			s.log.Warn("cannot sweep a package topic", zap.String("topic", topic), zap.Error(err))
		}
	}
	return deleted, nil
}

// abandoned says whether a topic holds no complete upload and its oldest message is older than age.
func (s *TopicStore) abandoned(ctx context.Context, topic string, age time.Duration, seenEmpty map[string]time.Time) (bool, error) {
	stats, err := s.admin.TopicStats(ctx, topic)
	if err != nil || len(stats.Publishers) > 0 {
		return false, err
	}
	if stats.MsgInCounter == 0 && stats.StorageSize == 0 {
		since, seen := seenEmpty[topic]
		if !seen {
			since = time.Now()
		}
		s.empty[topic] = since
		return seen && time.Since(since) >= age, nil
	}
	p, err := s.last(ctx, topic)
	if err != nil || p.kind == partEnd {
		return false, err
	}
	if _, err := s.lastEnd(ctx, topic, p); !errors.Is(err, ErrNotFound) {
		return false, err
	}
	reader, err := s.reader(ctx, topic, pulsar.EarliestMessageID())
	if err != nil {
		return false, err
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	first, err := reader.Next(ctx)
	if err != nil {
		return false, err
	}
	return time.Since(first.PublishTime()) > age, nil
}

// await runs a client call that knows no context; a result that comes too late is disposed of.
func await[T any](ctx context.Context, call func() (T, error), dispose func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	done := make(chan result, 1)
	go func() { // ends with the call, which the client bounds by its operation timeout
		value, err := call()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil && dispose != nil {
				dispose(r.value)
			}
		}()
		var none T
		return none, ctx.Err()
	}
}
