package app

import (
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/state"
)

// stateStore is the store of the functions' state.
type stateStore interface {
	state.Store
	Close() error
}

// newState makes the store that the configuration selects, for the API and for the functions in this process. It uses no
// network. Topics are the default of the thread runtime only: instances in processes of their own cannot reach them.
func (a *App) newState() error {
	cfg, log := a.cfg, a.log.Named("state")
	store, err := NewState(cfg, log)
	switch {
	case err != nil:
		return err
	case store != nil:
		a.state = store
	case cfg.Go.StateStore == "topic", cfg.Go.StateStore == "" && cfg.Computed.Runtime == config.RuntimeThread:
		a.state = state.NewTopic(state.TopicOptions{
			Topics: state.NewBrokerTopics(a.client, a.admin), Namespace: cfg.PulsarFunctionsNamespace, Name: cfg.WorkerID, Log: log,
		})
	default:
		return nil
	}
	a.openState = state.Opener(a.state)
	return nil
}

// NewState makes the client of the table service, nil when the configuration names none. It uses no network.
func NewState(cfg *config.Worker, log *zap.Logger) (*state.BookKeeper, error) {
	url := strings.TrimSpace(cfg.StateStorageServiceURL)
	switch {
	case cfg.Go.StateStore == "none", cfg.Go.StateStore == "topic":
		return nil, nil
	case url == "" && cfg.Go.StateStore == "bookkeeper":
		return nil, errors.New("goWorker.stateStore is bookkeeper, but stateStorageServiceUrl does not say where it is; set it to bk://HOST:4181")
	case url == "":
		return nil, nil
	}
	store, err := state.NewBookKeeper(state.Options{URL: cfg.StateStorageServiceURL, Log: log})
	if err != nil {
		return nil, fmt.Errorf("stateStorageServiceUrl: %w", err)
	}
	return store, nil
}

// InstanceState opens the state store of an instance that has a process of its own: the table service, or none.
func InstanceState(cfg *instance.Config, log *zap.Logger) (instance.OpenState, func(), error) {
	if strings.TrimSpace(cfg.StateURL) == "" {
		return nil, nil, nil
	}
	store, err := state.NewBookKeeper(state.Options{URL: cfg.StateURL, Log: log})
	if err != nil {
		return nil, nil, fmt.Errorf("stateStorageServiceUrl: %w", err)
	}
	return state.Opener(store), func() { _ = store.Close() }, nil // the process ends with it
}
