// The library's functions, and who computes what: the widest vectors that this CPU has, and threads over groups of windows.
//
// A batch is cut into groups of sixteen windows. A group of at most eight, the last, is run with eight lanes: empty ones add nothing
// to any sum, so the bytes are the same for half the arithmetic. Each of up to sixteen sums takes every sixteenth group, in order;
// threads take sums as they get free, and sums are added in order. So no byte depends on how many threads there are, or how fast.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "api.h"

namespace {

constexpr int LANES = 16, HALF = 8, MOST_SUMS = 16;
constexpr int64_t SLICE = 4096;  // parameters that a thread adds up and moves at once
constexpr int64_t WEIGHTS_OF_A_THREAD = 65536;  // that one window of training needs at least

constexpr int MOST_WIDTHS = 3;

#if defined(__x86_64__)
// Whether there are tiles for bfloat16, and the system lends their registers: Linux does to a process that has asked.
bool has_tiles() {
#if defined(__linux__)
    constexpr long ASK = 0x1023, TILE_DATA = 18;  // of arch_prctl(2)
    static const bool lent = __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("avx512f") && !syscall(SYS_arch_prctl, ASK, TILE_DATA);
    return lent;
#else
    return false;
#endif
}
#endif

// What this CPU can compute by in bfloat16, the quickest first; all give the same bytes.
int tiles(const Kernels** found) {
    int count = 0;
#if defined(__x86_64__)
    if (has_tiles()) found[count++] = &amx::KERNELS;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[count++] = &avx2_tiles::KERNELS;
#endif
    found[count++] = &plain_tiles::KERNELS;
    return count;
}

// The widths that this CPU can run in float32, the widest first.
int widths(const Kernels** found) {
    int count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) found[count++] = &avx512::KERNELS;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[count++] = &avx2::KERNELS;
#endif
    found[count++] = &plain::KERNELS;
    return count;
}

const Kernels& kernels(int width) {
    const Kernels* found[MOST_WIDTHS];
    width < TILES ? widths(found) : tiles(found);
    return *found[width % TILES];
}

// Floats that begin at a line of the cache.
struct Free { void operator()(float* floats) const { std::free(floats); } };
using Floats = std::unique_ptr<float[], Free>;

Floats room(int64_t count) {
    void* made = nullptr;
    if (posix_memalign(&made, 64, sizeof(float) * (count + LANES))) throw std::bad_alloc();
    return Floats(static_cast<float*>(made));
}

// Where threads meet. A neighbour may hold the core that one of them needs, so who waits looks for some microseconds only,
// then sleeps until it is woken. It never yields its core while it looks: threads that yield to one another may stay on one.
class Meeting {
  public:
    explicit Meeting(int threads) : threads_(threads) {}
    void meet() {
        if (threads_ == 1) return;
        const int round = round_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
            arrived_.store(0, std::memory_order_relaxed);
            {
                const std::lock_guard<std::mutex> held(mutex_);
                round_.store(round + 1, std::memory_order_release);
            }
            all_there_.notify_all();
            return;
        }
        for (int look = 0; look < LOOKS; ++look) {
            if (round_.load(std::memory_order_acquire) != round) return;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
        std::unique_lock<std::mutex> held(mutex_);
        all_there_.wait(held, [&] { return round_.load(std::memory_order_acquire) != round; });
    }

  private:
    static constexpr int LOOKS = 2000;
    const int threads_;
    std::atomic<int> arrived_{0}, round_{0};
    std::mutex mutex_;
    std::condition_variable all_there_;
};

// work(thread) on each of so many threads, this one among them; none begins before all are there, since they wait for one another.
template <class Work>
void side_by_side(int threads, const Work& work) {
    enum Word { WAIT, GO, LEAVE };
    std::atomic<Word> said{WAIT};
    std::vector<std::thread> others;
    const auto say = [&](Word word) {
        said.store(word);
        said.notify_all();
    };
    const auto part = [&] {
        for (auto& other : others) other.join();
    };
    try {
        for (int thread = 1; thread < threads; ++thread)
            others.emplace_back([&work, &said, thread] {
                said.wait(WAIT);
                if (said.load() == GO) work(thread);
            });
    } catch (...) {
        say(LEAVE);
        part();
        throw;
    }
    say(GO);
    work(0);
    part();
}

int sums_of(int64_t groups) { return static_cast<int>(groups < MOST_SUMS ? groups : MOST_SUMS); }
int64_t groups_of(int64_t windows) { return (windows + LANES - 1) / LANES; }
int lanes_of(int64_t windows, int64_t group) { return static_cast<int>(std::min<int64_t>(LANES, windows - group * LANES)); }
const Groups& lanes_for(const Kernels& width, int count) { return count <= HALF ? *width.eight : *width.sixteen; }

// How many answers of a stretch of windows are charged: tokens, or those whose target is a number.
int64_t charged(const Network& net, const Pass& pass, int64_t first, int64_t count) {
    if (net.words && !pass.counts) return count * net.steps;
    int64_t found = 0;
    for (int64_t n = first; net.words && n < first + count; ++n) found += pass.counts[n];
    for (int64_t n = first; !net.words && n < first + count; ++n)
        for (int h = 0; h < net.horizon; ++h) found += !std::isnan(pass.values[(pass.firsts[n] + net.steps + h) * net.inputs]);
    return found;
}

// Threads that go through the same phases of work, piece by piece: whoever is free takes the next piece, and all meet after the last.
class Phases {
  public:
    explicit Phases(int threads) : threads_(threads), meeting_(threads) {}
    int threads() const { return threads_; }

    // One thread's way through them.
    class Way {
      public:
        Way(Phases& all, int thread) : all_(all), thread_(thread) {}
        int thread() const { return thread_; }

        // work(piece) for those of so many pieces that this thread comes to.
        template <class Work>
        void share(int64_t pieces, const Work& work) {
            std::atomic<int64_t>& next = all_.next_[phase_ % 3];
            all_.next_[(phase_ + 1) % 3].store(0, std::memory_order_relaxed);  // everybody has left that phase's forerunner
            for (int64_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) work(piece);
            ++phase_;
            meet();
        }

        void meet() { all_.meeting_.meet(); }

      private:
        Phases& all_;
        const int thread_;
        int64_t phase_ = 0;
    };

  private:
    const int threads_;
    Meeting meeting_;
    std::atomic<int64_t> next_[3] = {0, 0, 0};
};

// What a language model's groups share, for as many tokens as so many windows may charge.
class TokenList {
  public:
    TokenList(const Network& net, int64_t windows, int threads)
        : at_once_(std::min({blocks_of(windows * net.steps), 2 * HAND * threads, MOST_AT_ONCE})), targets_(blocks_of(windows * net.steps) * LANES),
          losses_(blocks_of(windows * net.steps)), rights_(blocks_of(windows * net.steps)) {
        const int64_t width = net.layers[0].hidden * net.directions, blocks = blocks_of(windows * net.steps);
        tops_ = room(blocks * (width + 1) * LANES), backs_ = room(blocks * width * LANES), scores_ = room(at_once_ * blocks_of(net.words) * LANES * LANES);
        list = {targets_.data(), tops_.get(), backs_.get(), scores_.get(), losses_.data(), rights_.data(), 0};
    }
    static int64_t blocks_of(int64_t count) { return (count + LANES - 1) / LANES; }
    int64_t blocks() const { return blocks_of(list.count); }
    int64_t at_once() const { return at_once_; }
    double loss() const { return std::accumulate(losses_.begin(), losses_.begin() + blocks(), 0.0); }
    int64_t right() const { return std::accumulate(rights_.begin(), rights_.begin() + blocks(), int64_t{0}); }

    Charged list;

  private:
    const int64_t at_once_;
    std::vector<int32_t> targets_;
    std::vector<double> losses_;
    std::vector<int64_t> rights_;
    Floats tops_, backs_, scores_;
};

void note(Outcome& outcome, int64_t number, double loss, int64_t right, int64_t terms, double norm, bool fails) {
    outcome.loss += loss;
    outcome.right += right;
    outcome.terms += terms;
    if (fails) outcome.failed = number, outcome.failed_loss = loss, outcome.failed_terms = terms, outcome.failed_norm = norm;
}

// What a gradient of this norm is multiplied by.
float clipped(const Optimiser& way, double norm) { return static_cast<float>(std::min(1.0, way.clip / (norm + 1e-6))); }

// The optimiser as it is so many steps after those that it says it has taken.
Optimiser unbiased(Optimiser way, int64_t more) {
    const auto steps = static_cast<double>(way.steps + more);
    way.unbias = way.adam ? 1 - std::pow(way.beta, steps) : 1;
    way.unbias_root = way.adam ? std::sqrt(1 - std::pow(way.beta_square, steps)) : 1;
    return way;
}

// One pass of training over batches: each thread goes through all of them, and they meet after each phase of each.
class Training {
  public:
    Training(const Kernels& width, const Network& net, const Pass& pass, Optimiser& way, Outcome& outcome)
        : width_(width), net_(net), pass_(pass), way_(way), outcome_(outcome), phases_(std::max(pass.threads, 1)), packed_(room(width.packed_size(net))),
          gradient_(room(net.parameters)), ends_(room(width.ends_size(net))), places_(net.parameters), squares_(slices()) {
        const int64_t windows = std::min(pass.batch, pass.windows);
        const int count = sums_of(groups_of(windows));
        for (int n = 0; n < count; ++n) sums_.push_back(room(width.sums_size(net)));
        for (const Floats& own : sums_) pointers_.push_back(own.get());
        for (int n = 0; n < (net.words ? count : phases_.threads()); ++n) scratch_.push_back(room(width.sixteen->scratch_size(net)));
        if (net.words) tokens_.emplace(net, std::min<int64_t>(windows, MOST_SUMS * LANES), phases_.threads());
        std::fill_n(ends_.get(), width.ends_size(net), 0.0f);
        losses_.resize(groups_of(windows));
        width.places(net, places_.data());
    }

    void run() {
        side_by_side(phases_.threads(), [this](int thread) { go_through(Phases::Way(phases_, thread)); });
    }

  private:
    using Way = Phases::Way;

    int64_t slices() const { return (net_.parameters + SLICE - 1) / SLICE; }

    void go_through(Way way) {
        pack(way);
        int64_t taken = 0, before = -1;  // before: the first window of the last batch that was learned from
        for (int64_t first = 0; first < pass_.windows; first += pass_.batch) {
            const int64_t count = std::min(pass_.batch, pass_.windows - first), terms = charged(net_, pass_, first, count);
            if (!terms) continue;  // nothing to learn from is no step
            const float share = 1.0f / static_cast<float>(terms);
            int64_t right = 0;
            const double loss = net_.words ? learn_words(way, first, count, share, before, right) : learn(way, first, count, share);
            add_up(way, sums_of(groups_of(count)));
            double squares = 0;
            for (const double own : squares_) squares += own;
            const double norm = std::sqrt(squares);
            const bool fails = !std::isfinite(norm) || !std::isfinite(loss);
            if (way.thread() == 0) note(outcome_, pass_.step + first / pass_.batch + 1, loss, right, terms, norm, fails);
            if (fails) break;  // every thread comes to the same
            ++taken;
            before = first;
            move(way, clipped(way_, norm), unbiased(way_, taken));
            pack(way);
        }
        if (way.thread() == 0) way_.steps += taken;
    }

    // A batch of a forecaster there and back: the loss, and gradients among the sums.
    double learn(Way& way, int64_t first, int64_t count, float share) {
        const int64_t groups = groups_of(count), sums = sums_of(groups);
        way.share(sums, [&](int64_t own) {
            clear(own);
            for (int64_t group = own; group < groups; group += sums) {
                const int windows = lanes_of(count, group);
                losses_[group] = lanes_for(width_, windows).group(net_, pass_, first + group * LANES, windows, share, true, packed_.get(), way_.weights,
                                                                  scratch_[way.thread()].get(), sums_[own].get());
            }
            width_.settle(net_, sums_[own].get());
        });
        return std::accumulate(losses_.begin(), losses_.begin() + groups, 0.0);
    }

    // A batch of a language model, as many groups at a time as there are sums. before: the first window of the batch before it, or -1;
    // right: takes the words that were scored highest
    double learn_words(Way& way, int64_t first, int64_t count, float share, int64_t before, int64_t& right) {
        const int64_t groups = groups_of(count);
        double loss = 0;
        for (int64_t round = 0; round < groups; round += MOST_SUMS) {
            const int64_t some = std::min<int64_t>(MOST_SUMS, groups - round);
            int64_t places[MOST_SUMS + 1] = {0};  // of each group's first token
            const auto window = [&](int64_t group) { return first + (round + group) * LANES; };
            const auto lanes = [&](int64_t group) { return lanes_of(count, round + group); };
            for (int64_t group = 0; group < some; ++group) places[group + 1] = places[group] + charged(net_, pass_, window(group), lanes(group));
            way.share(some, [&](int64_t group) {
                if (!round) clear(group);
                lanes_for(width_, lanes(group)).ahead_of_head(net_, pass_, window(group), lanes(group), true, packed_.get(), way_.weights, scratch_[group].get(), tokens_->list,
                                     places[group]);
            });
            if (way.thread() == 0) tokens_->list.count = places[some], width_.fill_up(net_, tokens_->list);
            way.meet();
            go_through_head(way, share, !round);
            loss += tokens_->loss(), right += tokens_->right();
            way.share(some, [&](int64_t group) {
                lanes_for(width_, lanes(group)).behind_head(net_, pass_, window(group), lanes(group), packed_.get(), way_.weights, scratch_[group].get(), tokens_->list,
                                   places[group], sums_[group].get());
                if (round + MOST_SUMS >= groups - group) width_.settle(net_, sums_[group].get());
            });
            const int slice = way.thread(), slices = phases_.threads();
            if (!round) width_.clear_table(net_, pass_, std::max<int64_t>(before, 0), before < 0 ? 0 : pass_.batch, slice, slices, ends_.get());
            for (int64_t group = 0; group < some; ++group)
                lanes_for(width_, lanes(group)).add_to_table(net_, pass_, window(group), lanes(group), scratch_[group].get(), slice, slices, ends_.get());
            if (round + some == groups) width_.tie(net_, slice, slices, ends_.get());
            way.meet();
        }
        return loss;
    }

    void go_through_head(Way& way, float share, bool begins) {
        constexpr int64_t WORDS = 128;  // that a thread takes at a time
        const int64_t blocks = tokens_->blocks();
        for (int64_t base = 0; base < blocks; base += tokens_->at_once()) {
            const int64_t end = std::min(base + tokens_->at_once(), blocks);
            way.share((end - base + HAND - 1) / HAND, [&](int64_t hand) {
                const int64_t first = base + hand * HAND;
                width_.charge(net_, tokens_->list, base, first, std::min(first + HAND, end), share, true, packed_.get());
            });
            way.share((net_.words + WORDS - 1) / WORDS, [&](int64_t hand) {
                width_.add_head(net_, tokens_->list, base, end, hand * WORDS, std::min<int64_t>((hand + 1) * WORDS, net_.words), begins && !base, ends_.get());
            });
        }
    }

    void clear(int64_t sums) { std::fill_n(sums_[sums].get(), width_.sums_size(net_), 0.0f); }

    void add_up(Way& way, int sums) {
        way.share(slices(), [&](int64_t slice) {
            squares_[slice] = width_.add_up(pointers_.data(), sums, width_.sums_size(net_), ends_.get(), places_.data(), gradient_.get(), slice * SLICE,
                                            std::min((slice + 1) * SLICE, net_.parameters));
        });
    }

    void move(Way& way, float scale, const Optimiser& to) {
        way.share(slices(), [&](int64_t slice) {
            width_.move(to, gradient_.get(), scale, slice * SLICE, std::min((slice + 1) * SLICE, net_.parameters));
        });
    }

    void pack(Way& way) {
        way.share(net_.depth * net_.directions + 1, [&](int64_t part) { width_.pack(net_, static_cast<int>(part), way_.weights, packed_.get()); });
    }

    const Kernels& width_;
    const Network& net_;
    const Pass& pass_;
    Optimiser& way_;
    Outcome& outcome_;
    Phases phases_;
    Floats packed_, gradient_, ends_;
    std::vector<int32_t> places_;
    std::vector<double> squares_, losses_;
    std::vector<Floats> sums_, scratch_;
    std::vector<const float*> pointers_;
    std::optional<TokenList> tokens_;
};

// One pass of training window by window: all threads work on each together.
class Singly {
  public:
    Singly(const Kernels& width, const Network& net, const Pass& pass, Optimiser& way, Outcome& outcome)
        : width_(width), net_(net), pass_(pass), way_(way), outcome_(outcome), threads_(team_of(net, pass)), meeting_(threads_),
          room_(room(width.single_size(net))) {
        width.single_begin(net, room_.get());
    }

    void run() {
        side_by_side(threads_, [this](int thread) { go_through(thread); });
    }

  private:
    // Threads meet after each step of each layer, so a small network is one thread's.
    static int team_of(const Network& net, const Pass& pass) {
        return static_cast<int>(std::clamp<int64_t>(net.parameters / WEIGHTS_OF_A_THREAD, 1, std::max(pass.threads, 1)));
    }

    void go_through(int thread) {
        const Team team{thread, threads_, [](void* where) { static_cast<Meeting*>(where)->meet(); }, &meeting_};
        int64_t taken = 0;
        for (int64_t window = 0; window < pass_.windows; ++window) {
            const int64_t terms = charged(net_, pass_, window, 1);
            if (!terms) continue;  // nothing to learn from is no step
            double squares = 0;
            int64_t right = 0;
            const float share = 1.0f / static_cast<float>(terms);
            const double loss = width_.learn_single(net_, pass_, way_.weights, room_.get(), window, share, team, &squares, &right);
            const double norm = std::sqrt(squares);
            const bool fails = !std::isfinite(norm) || !std::isfinite(loss);
            if (thread == 0) note(outcome_, pass_.step + window + 1, loss, right, terms, norm, fails);
            if (fails) break;  // every thread comes to the same
            ++taken;
            width_.move_single(net_, pass_, unbiased(way_, taken), room_.get(), window, clipped(way_, norm), team);
            meeting_.meet();
        }
        if (thread == 0) way_.steps += taken;
    }

    const Kernels& width_;
    const Network& net_;
    const Pass& pass_;
    Optimiser& way_;
    Outcome& outcome_;
    const int threads_;
    Meeting meeting_;
    Floats room_;
};

Floats packed(const Kernels& width, const Network& net, int parts, const float* row) {
    Floats made = room(width.packed_size(net));
    for (int part = 0; part < parts; ++part) width.pack(net, part, row, made.get());
    return made;
}

// The loss over one group of a language model; right takes its words that were scored highest.
double score_words(const Kernels& width, const Network& net, const Pass& pass, int64_t first, int count, const float* packed, const float* row,
                   float* scratch, TokenList& tokens, int64_t& right) {
    tokens.list.count = charged(net, pass, first, count);
    lanes_for(width, count).ahead_of_head(net, pass, first, count, false, packed, row, scratch, tokens.list, 0);
    width.fill_up(net, tokens.list);
    for (int64_t base = 0; base < tokens.blocks(); base += HAND)
        width.charge(net, tokens.list, base, base, std::min(base + HAND, tokens.blocks()), 0.0f, false, packed);
    right += tokens.right();
    return tokens.loss();
}

// Whether there was memory for it, and threads: nothing may be thrown across ctypes.
template <class Work>
int32_t done(const Work& work) {
    try {
        work();
        return 1;
    } catch (const std::exception&) {
        return 0;
    }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

// The digest of the sources that this library was built from.
API const char* longshort_sources() { return SOURCES; }

// The name of a vector width of this CPU, the widest first, or null; from TILES on, of what computes in bfloat16, the quickest first.
API const char* longshort_width(int32_t number) {
    const Kernels* found[MOST_WIDTHS];
    return number % TILES < (number < TILES ? widths(found) : tiles(found)) ? found[number % TILES]->name : nullptr;
}

API int32_t longshort_cell(const char* name) { return plain::KERNELS.cell(name); }

// Every function below: width is a number of `longshort_width`; returns 1, or 0 when there was no memory for it.

// Train over the batches of a pass, in place.
API int32_t longshort_train(int32_t width, const Network* net, const Pass* pass, Optimiser* way, Outcome* outcome) {
    return done([&] {
        const Kernels& own = kernels(width);
        // carried states are those of rows of a batch, and stay there
        if (pass->batch == 1 && !pass->states && own.learn_single) return Singly(own, *net, *pass, *way, *outcome).run();
        Training(own, *net, *pass, *way, *outcome).run();
    });
}

// The loss over the windows of a pass, nothing dropped.
API int32_t longshort_score(int32_t width, const Network* net, const Pass* pass, const float* row, Outcome* outcome) {
    return done([&] {
        const Kernels& own = kernels(width);
        const Floats weights = packed(own, *net, net->depth * net->directions + 1, row);
        const int threads = std::max(pass->threads, 1);
        const int64_t rows = pass->states ? pass->batch : pass->windows;  // where states are carried, batches wait for one another
        std::vector<double> losses(groups_of(rows));
        std::vector<int64_t> rights(groups_of(rows));
        std::vector<Floats> scratch;
        std::deque<TokenList> tokens;
        for (int n = 0; n < threads; ++n) {
            scratch.push_back(room(own.sixteen->scratch_size(*net)));
            if (net->words) tokens.emplace_back(*net, LANES, 1);
        }
        std::atomic<int64_t> next{0};
        side_by_side(threads, [&](int thread) {
            for (int64_t group; (group = next.fetch_add(1)) < static_cast<int64_t>(losses.size());) {
                const int count = lanes_of(rows, group);
                for (int64_t first = group * LANES; first < pass->windows; first += rows)
                    losses[group] += net->words ? score_words(own, *net, *pass, first, count, weights.get(), row, scratch[thread].get(), tokens[thread], rights[group])
                                                : lanes_for(own, count).group(*net, *pass, first, count, 0.0f, false, weights.get(), row,
                                                                              scratch[thread].get(), nullptr);
            }
        });
        for (const double loss : losses) outcome->loss += loss;
        for (const int64_t right : rights) outcome->right += right;
        outcome->terms += charged(*net, *pass, 0, pass->windows);
    });
}

// Floats that `longshort_read` keeps of a batch for the way back.
API int64_t longshort_kept(int32_t width, const Network* net, int64_t batch) {
    const Kernels& own = kernels(width);
    const int64_t last = groups_of(batch) - 1;
    return last * own.sixteen->kept_size(*net) + lanes_for(own, lanes_of(batch, last)).kept_size(*net);
}

// One layer over a batch: steps (steps, batch, inputs) to states (steps, batch, hidden). kept: null where there is no way back.
// carried: null, or (2, batch, hidden), where h and c after the last step are put, and from which the rows go on where `goes_on`.
API int32_t longshort_read(int32_t width, const Network* net, const float* row, const float* steps, int64_t batch, int32_t threads, float* kept,
                           float* states, float* carried, int32_t goes_on) {
    return done([&] {
        const Kernels& own = kernels(width);
        const Floats weights = packed(own, *net, 1, row);
        const int64_t groups = groups_of(batch), size = own.sixteen->kept_size(*net);
        const int count = static_cast<int>(std::min<int64_t>(std::max(threads, 1), groups));
        std::vector<Floats> scratch;
        for (int n = 0; n < count; ++n) scratch.push_back(room(kept ? 0 : size));
        std::atomic<int64_t> next{0};
        side_by_side(count, [&](int thread) {
            for (int64_t group; (group = next.fetch_add(1)) < groups;) {
                const int windows = lanes_of(batch, group);
                lanes_for(own, windows).read(*net, weights.get(), row, steps, batch, group * LANES, windows,
                                             kept ? kept + group * size : scratch[thread].get(), states, carried, goes_on);
            }
        });
    });
}

// The way back of `longshort_read`, which uses up what was kept; goes_on as there. gradient (steps, batch, hidden); row_gradient as
// the row; input_gradient (steps, batch, inputs) or null.
API int32_t longshort_learn(int32_t width, const Network* net, const float* row, const float* gradient, int64_t batch, int32_t threads, float* kept,
                            int32_t goes_on, float* row_gradient, float* input_gradient) {
    return done([&] {
        const Kernels& own = kernels(width);
        const Floats weights = packed(own, *net, 1, row);
        const int64_t groups = groups_of(batch), size = own.sixteen->kept_size(*net);
        const int sums_count = sums_of(groups), count = std::min(std::max(threads, 1), sums_count);
        std::vector<Floats> scratch, sums;
        std::vector<const float*> pointers;
        for (int n = 0; n < count; ++n) scratch.push_back(room(own.sixteen->learn_size(*net)));
        for (int n = 0; n < sums_count; ++n) sums.push_back(room(own.sums_size(*net))), pointers.push_back(sums.back().get());
        std::atomic<int> next{0};
        side_by_side(count, [&](int thread) {
            for (int n; (n = next.fetch_add(1)) < sums_count;) {
                std::fill_n(sums[n].get(), own.sums_size(*net), 0.0f);
                for (int64_t group = n; group < groups; group += sums_count) {
                    const int windows = lanes_of(batch, group);
                    lanes_for(own, windows).learn(*net, weights.get(), gradient, batch, group * LANES, windows, kept + group * size, goes_on,
                                                  scratch[thread].get(), sums[n].get(), input_gradient);
                }
                own.settle(*net, sums[n].get());
            }
        });
        std::vector<int32_t> places(net->parameters);
        own.places(*net, places.data());
        own.add_up(pointers.data(), sums_count, own.sums_size(*net), nullptr, places.data(), row_gradient, 0, net->parameters);
    });
}

// Floats of a forecaster's packed weights (0), and of the room that it works in (1).
API int64_t longshort_forecaster_size(int32_t width, const Network* net, int32_t which) {
    const Kernels& own = kernels(width);
    return which ? own.lone_room_size(*net) : own.lone_packed_size(*net);
}

API void longshort_pack_forecaster(int32_t width, const Network* net, const float* row, float* packed) { kernels(width).pack_lone(*net, row, packed); }

// The answers (horizon) to a window (steps, inputs).
API void longshort_forecast(const Forecaster* own, const float* window, float* answers) {
    kernels(own->width).forecast(*own->net, own->packed, own->room, window, answers);
}

// All steps of a window but the newest: (steps - 1, inputs).
API void longshort_ahead(const Forecaster* own, const float* window) { kernels(own->width).ahead(*own->net, own->packed, own->room, window); }

// The answers (horizon) once the newest step (inputs) is known; after each `longshort_ahead` once.
API void longshort_tick(const Forecaster* own, const float* newest, float* answers) {
    kernels(own->width).tick(*own->net, own->packed, own->room, newest, answers);
}

// For tests: sigmoid (0) or tanh (1) of each, and the masks of one step of a group.
API void longshort_function(int32_t width, int32_t which, const float* x, float* y, int64_t count) { kernels(width).function(which, x, y, count); }

API void longshort_masks(int32_t width, uint64_t seed, uint64_t epoch, uint64_t stream, uint64_t kind, uint64_t place, uint64_t step, uint64_t steps,
                         uint64_t units, uint32_t threshold, uint16_t* dropped) {
    kernels(width).masks(seed, epoch, stream, kind, place, step, steps, units, threshold, dropped);
}
