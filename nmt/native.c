/* Innermost loops on a CPU: each reads its tensors once and keeps nothing between its operations.

   nmt/native.py compiles and calls this; nmt/attention, nmt/cells/gru.py and nmt/losses say what is computed. All arrays are dense, row by row:
   B sentences, T queries, S source positions, E (or A) numbers, the last next to each other. What is per pair of a query
   and a source position is of type WIDE, float or bfloat16; all else is float. A gradient of what several pairs share is
   added to what stands there. No two threads share a sentence. */
#include <stdint.h>
#include <string.h>

typedef uint16_t bfloat16;
/* The numbers e of a row of vectors v_bts, by the steps from one sentence, query and source position to the next: what
   all queries or all source positions share has a step of 0. */
typedef struct { float *at; int64_t b, t, s; } rows;

static inline float load_float(float x) { return x; }
static inline float store_float(float x) { return x; }

static inline float load_bfloat16(bfloat16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

/* To the nearest, ties to even; not a number stays one. */
static inline bfloat16 store_bfloat16(float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (bfloat16)((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : rounded);
}

/* x P(x²) / Q(x²), the quotient of polynomials that has tanh's values to 4 units in the last place of a float. */
static inline float tanh_(float x) {
    const float most = 7.90531110763549805f; /* from here on tanh is 1 in float */
    x = x > most ? most : x;
    x = x < -most ? -most : x;
    float y = x * x;
    float p = -2.76076847742355e-16f;
    p = p * y + 2.00018790482477e-13f;
    p = p * y - 8.60467152213735e-11f;
    p = p * y + 5.12229709037114e-08f;
    p = p * y + 1.48572235717979e-05f;
    p = p * y + 6.37261928875436e-04f;
    p = p * y + 4.89352455891786e-03f;
    float q = 1.19825839466702e-06f;
    q = q * y + 1.18534705686654e-04f;
    q = q * y + 2.26843463243900e-03f;
    q = q * y + 4.89352518554385e-03f;
    return x * p / q;
}

static inline float sigmoid(float x) { return 0.5f + 0.5f * tanh_(0.5f * x); }

/* 2^n · (Taylor's polynomial of e^f), x = n log 2 + f, |f| <= (log 2) / 2; 0 below the smallest normal number. */
static inline float exp_(float x) {
    float limited = x < -87.0f ? -87.0f : x;
    limited = limited > 88.0f ? 88.0f : limited;
    float n = __builtin_floorf(limited * 1.44269504088896341f + 0.5f);
    float f = limited - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * f * f + f + 1.0f;
    union { int32_t bits; float number; } power = {((int32_t)n + 127) << 23};
    return x < -87.0f ? 0.0f : p * power.number;
}

/* e_ts = v · tanh(q_t + k_s) */
void additive_forward(int64_t B, int64_t T, int64_t S, int64_t A, const float *q, const float *k, const float *v, float *e) {
#pragma omp parallel for
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t s = 0; s < S; s++) {
                const float *qt = q + (b * T + t) * A, *ks = k + (b * S + s) * A;
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t a = 0; a < A; a++) sum += v[a] * tanh_(qt[a] + ks[a]);
                e[(b * T + t) * S + s] = sum;
            }
}

/* de: gradient of e. dv is (B, A): each sentence's. */
void additive_backward(int64_t B, int64_t T, int64_t S, int64_t A, const float *de, const float *q, const float *k,
                       const float *v, float *dq, float *dk, float *dv) {
#pragma omp parallel for
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t s = 0; s < S; s++) {
                const float *qt = q + (b * T + t) * A, *ks = k + (b * S + s) * A;
                float *dqt = dq + (b * T + t) * A, *dks = dk + (b * S + s) * A, *dvb = dv + b * A;
                float d = de[(b * T + t) * S + s];
#pragma omp simd
                for (int64_t a = 0; a < A; a++) {
                    float hidden = tanh_(qt[a] + ks[a]);
                    float inner = d * v[a] * (1 - hidden * hidden);
                    dqt[a] += inner;
                    dks[a] += inner;
                    dvb[a] += d * hidden;
                }
            }
}

/* A GRU with the reset after its product: p = W x and u = U h hold r's, z's and the candidate's part side by side. */
void gru_forward(int64_t B, int64_t T, int64_t S, int64_t E, rows p, rows u, rows h, float *out, float *r, float *z) {
#pragma omp parallel for if (B * E > 16384)
    for (int64_t b = 0; b < B; b++) {
        const float *p_ = p.at + b * p.b, *u_ = u.at + b * u.b, *h_ = h.at + b * h.b;
        float *out_ = out + b * E, *r_ = r + b * E, *z_ = z + b * E;
#pragma omp simd
        for (int64_t e = 0; e < E; e++) {
            r_[e] = sigmoid(p_[e] + u_[e]);
            z_[e] = sigmoid(p_[E + e] + u_[E + e]);
            float candidate = tanh_(p_[2 * E + e] + r_[e] * u_[2 * E + e]);
            out_[e] = candidate + z_[e] * (h_[e] - candidate);
        }
    }
}

void gru_backward(int64_t B, int64_t T, int64_t S, int64_t E, rows g, rows p, rows u, rows h, float *dp, float *du,
                  float *dh) {
#pragma omp parallel for if (B * E > 16384)
    for (int64_t b = 0; b < B; b++) {
        const float *g_ = g.at + b * g.b, *p_ = p.at + b * p.b, *u_ = u.at + b * u.b, *h_ = h.at + b * h.b;
        float *dp_ = dp + b * 3 * E, *du_ = du + b * 3 * E, *dh_ = dh + b * E;
#pragma omp simd
        for (int64_t e = 0; e < E; e++) {
            float r = sigmoid(p_[e] + u_[e]), z = sigmoid(p_[E + e] + u_[E + e]);
            float candidate = tanh_(p_[2 * E + e] + r * u_[2 * E + e]);
            float dn = g_[e] * (1 - z) * (1 - candidate * candidate);
            float dr = dn * u_[2 * E + e] * r * (1 - r);
            float dz = g_[e] * (h_[e] - candidate) * z * (1 - z);
            dp_[e] = du_[e] = dr;
            dp_[E + e] = du_[E + e] = dz;
            dp_[2 * E + e] = dn;
            du_[2 * E + e] = dn * r;
            dh_[e] = g_[e] * z;
        }
    }
}

#define EACH_PAIR                          \
    _Pragma("omp parallel for")            \
    for (int64_t b = 0; b < B; b++)        \
        for (int64_t t = 0; t < T; t++)    \
            for (int64_t s = 0; s < S; s++)
#define ROW(name, r) float *name = (r).at + b * (r).b + t * (r).t + s * (r).s
#define EACH_NUMBER _Pragma("omp simd") for (int64_t e = 0; e < E; e++)

#define GATES(WIDE)                                                                                                     \
    /* x = r ⊙ h, r = σ(qr + kr) */                                                                                     \
    void reset_forward_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, rows qr, rows kr, rows h, WIDE *x) {          \
        EACH_PAIR {                                                                                                     \
            ROW(qr_, qr); ROW(kr_, kr); ROW(h_, h);                                                                     \
            WIDE *x_ = x + ((b * T + t) * S + s) * E;                                                                   \
            EACH_NUMBER x_[e] = store_##WIDE(sigmoid(qr_[e] + kr_[e]) * h_[e]);                                         \
        }                                                                                                               \
    }                                                                                                                   \
    /* dx: gradient of x, which is computed once more */                                                                \
    void reset_backward_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, const WIDE *dx, rows qr, rows kr, rows h,    \
                               rows dqr, rows dkr, rows dh, WIDE *x) {                                                  \
        EACH_PAIR {                                                                                                     \
            ROW(qr_, qr); ROW(kr_, kr); ROW(h_, h); ROW(dqr_, dqr); ROW(dkr_, dkr); ROW(dh_, dh);                       \
            const WIDE *dx_ = dx + ((b * T + t) * S + s) * E;                                                           \
            WIDE *x_ = x + ((b * T + t) * S + s) * E;                                                                   \
            EACH_NUMBER {                                                                                               \
                float r = sigmoid(qr_[e] + kr_[e]), d = load_##WIDE(dx_[e]), dr = d * h_[e] * r * (1 - r);              \
                x_[e] = store_##WIDE(r * h_[e]);                                                                        \
                dh_[e] += d * r;                                                                                        \
                dqr_[e] += dr;                                                                                          \
                dkr_[e] += dr;                                                                                          \
            }                                                                                                           \
        }                                                                                                               \
    }                                                                                                                   \
    /* out = (1 − z) ⊙ h + z ⊙ tanh(c + p), z = σ(qz + kz) */                                                           \
    void mix_forward_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, rows qz, rows kz, rows h, rows c,               \
                            const WIDE *p, WIDE *out) {                                                                 \
        EACH_PAIR {                                                                                                     \
            ROW(qz_, qz); ROW(kz_, kz); ROW(h_, h); ROW(c_, c);                                                         \
            const WIDE *p_ = p + ((b * T + t) * S + s) * E;                                                             \
            WIDE *out_ = out + ((b * T + t) * S + s) * E;                                                               \
            EACH_NUMBER {                                                                                               \
                float candidate = tanh_(c_[e] + load_##WIDE(p_[e]));                                                    \
                out_[e] = store_##WIDE(h_[e] + sigmoid(qz_[e] + kz_[e]) * (candidate - h_[e]));                         \
            }                                                                                                           \
        }                                                                                                               \
    }                                                                                                                   \
    /* g: gradient of out; dp: of p */                                                                                  \
    void mix_backward_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, const WIDE *g, rows qz, rows kz, rows h,       \
                             rows c, const WIDE *p, rows dqz, rows dkz, rows dh, rows dc, WIDE *dp) {                   \
        EACH_PAIR {                                                                                                     \
            ROW(qz_, qz); ROW(kz_, kz); ROW(h_, h); ROW(c_, c);                                                         \
            ROW(dqz_, dqz); ROW(dkz_, dkz); ROW(dh_, dh); ROW(dc_, dc);                                                 \
            const WIDE *p_ = p + ((b * T + t) * S + s) * E, *g_ = g + ((b * T + t) * S + s) * E;                        \
            WIDE *dp_ = dp + ((b * T + t) * S + s) * E;                                                                 \
            EACH_NUMBER {                                                                                               \
                float candidate = tanh_(c_[e] + load_##WIDE(p_[e])), z = sigmoid(qz_[e] + kz_[e]);                      \
                float d = load_##WIDE(g_[e]), inner = d * z * (1 - candidate * candidate);                              \
                float dz = d * (candidate - h_[e]) * z * (1 - z);                                                       \
                dp_[e] = store_##WIDE(inner);                                                                           \
                dc_[e] += inner;                                                                                        \
                dh_[e] += d * (1 - z);                                                                                  \
                dqz_[e] += dz;                                                                                          \
                dkz_[e] += dz;                                                                                          \
            }                                                                                                           \
        }                                                                                                               \
    }                                                                                                                   \
    /* out = (1 − z) ⊙ h + z ⊙ tanh(qc + r ⊙ kc), z = σ(qz + kz), r = σ(qr + kr) */                                     \
    void after_forward_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, rows qz, rows kz, rows qr, rows kr, rows qc,  \
                              rows kc, rows h, WIDE *out) {                                                             \
        EACH_PAIR {                                                                                                     \
            ROW(qz_, qz); ROW(kz_, kz); ROW(qr_, qr); ROW(kr_, kr); ROW(qc_, qc); ROW(kc_, kc); ROW(h_, h);             \
            WIDE *out_ = out + ((b * T + t) * S + s) * E;                                                               \
            EACH_NUMBER {                                                                                               \
                float candidate = tanh_(qc_[e] + sigmoid(qr_[e] + kr_[e]) * kc_[e]);                                    \
                out_[e] = store_##WIDE(h_[e] + sigmoid(qz_[e] + kz_[e]) * (candidate - h_[e]));                         \
            }                                                                                                           \
        }                                                                                                               \
    }                                                                                                                   \
    void after_backward_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, const WIDE *g, rows qz, rows kz, rows qr,    \
                               rows kr, rows qc, rows kc, rows h, rows dqz, rows dkz, rows dqr, rows dkr, rows dqc,     \
                               rows dkc, rows dh) {                                                                     \
        EACH_PAIR {                                                                                                     \
            ROW(qz_, qz); ROW(kz_, kz); ROW(qr_, qr); ROW(kr_, kr); ROW(qc_, qc); ROW(kc_, kc); ROW(h_, h);             \
            ROW(dqz_, dqz); ROW(dkz_, dkz); ROW(dqr_, dqr); ROW(dkr_, dkr); ROW(dqc_, dqc); ROW(dkc_, dkc); ROW(dh_, dh); \
            const WIDE *g_ = g + ((b * T + t) * S + s) * E;                                                             \
            EACH_NUMBER {                                                                                               \
                float r = sigmoid(qr_[e] + kr_[e]), z = sigmoid(qz_[e] + kz_[e]);                                       \
                float candidate = tanh_(qc_[e] + r * kc_[e]), d = load_##WIDE(g_[e]);                                   \
                float inner = d * z * (1 - candidate * candidate), dr = inner * kc_[e] * r * (1 - r);                   \
                float dz = d * (candidate - h_[e]) * z * (1 - z);                                                       \
                dh_[e] += d * (1 - z);                                                                                  \
                dqz_[e] += dz;                                                                                          \
                dkz_[e] += dz;                                                                                          \
                dqr_[e] += dr;                                                                                          \
                dkr_[e] += dr;                                                                                          \
                dqc_[e] += inner;                                                                                       \
                dkc_[e] += inner * r;                                                                                   \
            }                                                                                                           \
        }                                                                                                               \
    }

GATES(float)
GATES(bfloat16)

/* One look at a source h' that a gate with the reset after its product makes anew for every query, by a product with a:
   e_s = a · h'_s, α = softmax(e) over the valid positions, c = Σ_s α_s h'_s. A vector h'_s lives no longer than it takes
   to add it to c, which is scaled down whenever a larger e comes. */
void after_look_forward(int64_t B, int64_t T, int64_t S, int64_t E, const uint8_t *valid, const float *a, rows qz, rows kz,
                        rows qr, rows kr, rows qc, rows kc, rows h, float *weight, float *context) {
#pragma omp parallel for
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T; t++) {
            const float *a_ = a + (b * T + t) * E;
            float *weight_ = weight + (b * T + t) * S, *c_ = context + (b * T + t) * E;
            float refined[E], most = 0, total = 0;
            memset(c_, 0, E * sizeof(float));
            for (int64_t s = 0; s < S; s++) {
                weight_[s] = 0;
                if (!valid[b * S + s]) continue;
                ROW(qz_, qz); ROW(kz_, kz); ROW(qr_, qr); ROW(kr_, kr); ROW(qc_, qc); ROW(kc_, kc); ROW(h_, h);
                float energy = 0;
#pragma omp simd reduction(+ : energy)
                for (int64_t e = 0; e < E; e++) {
                    float candidate = tanh_(qc_[e] + sigmoid(qr_[e] + kr_[e]) * kc_[e]);
                    refined[e] = h_[e] + sigmoid(qz_[e] + kz_[e]) * (candidate - h_[e]);
                    energy += a_[e] * refined[e];
                }
                weight_[s] = energy;
                float scale = 1; /* of what is there; a number that is none goes on into all */
                if (total == 0 || !(energy <= most)) {
                    scale = total == 0 ? 0.0f : __builtin_expf(most - energy);
                    most = energy;
                }
                float share = __builtin_expf(energy - most);
                total = total * scale + share;
                EACH_NUMBER c_[e] = c_[e] * scale + share * refined[e];
            }
            for (int64_t s = 0; s < S; s++)
                if (valid[b * S + s]) weight_[s] = __builtin_expf(weight_[s] - most) / total;
            if (total != 0) EACH_NUMBER c_[e] /= total;
        }
}

/* dc and dα: gradients of the context and of the weights. With D = dc · c + Σ_s dα_s α_s,
   de_s = α_s (dc · h'_s + dα_s − D),  dh'_s = α_s dc + de_s a,  da = Σ_s de_s h'_s */
void after_look_backward(int64_t B, int64_t T, int64_t S, int64_t E, const float *dweight, const float *dcontext,
                         const float *weight, const float *context, const float *a, float *da, rows qz, rows kz, rows qr,
                         rows kr, rows qc, rows kc, rows h, rows dqz, rows dkz, rows dqr, rows dkr, rows dqc, rows dkc,
                         rows dh) {
#pragma omp parallel for
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T; t++) {
            const float *a_ = a + (b * T + t) * E, *dc_ = dcontext + (b * T + t) * E, *c_ = context + (b * T + t) * E;
            const float *weight_ = weight + (b * T + t) * S, *dweight_ = dweight + (b * T + t) * S;
            float *da_ = da + (b * T + t) * E;
            float r[E], z[E], candidate[E], mean = 0;
#pragma omp simd reduction(+ : mean)
            for (int64_t e = 0; e < E; e++) mean += dc_[e] * c_[e];
            for (int64_t s = 0; s < S; s++) mean += dweight_[s] * weight_[s];
            for (int64_t s = 0; s < S; s++) {
                if (weight_[s] == 0) continue; /* then all of its gradients are 0 */
                ROW(qz_, qz); ROW(kz_, kz); ROW(qr_, qr); ROW(kr_, kr); ROW(qc_, qc); ROW(kc_, kc); ROW(h_, h);
                ROW(dqz_, dqz); ROW(dkz_, dkz); ROW(dqr_, dqr); ROW(dkr_, dkr); ROW(dqc_, dqc); ROW(dkc_, dkc); ROW(dh_, dh);
                float inner = 0;
#pragma omp simd reduction(+ : inner)
                for (int64_t e = 0; e < E; e++) {
                    r[e] = sigmoid(qr_[e] + kr_[e]);
                    z[e] = sigmoid(qz_[e] + kz_[e]);
                    candidate[e] = tanh_(qc_[e] + r[e] * kc_[e]);
                    inner += dc_[e] * (h_[e] + z[e] * (candidate[e] - h_[e]));
                }
                const float share = weight_[s], de = share * (inner + dweight_[s] - mean);
                EACH_NUMBER {
                    float refined = h_[e] + z[e] * (candidate[e] - h_[e]), d = share * dc_[e] + de * a_[e];
                    float dn = d * z[e] * (1 - candidate[e] * candidate[e]), dr = dn * kc_[e] * r[e] * (1 - r[e]);
                    float dz = d * (candidate[e] - h_[e]) * z[e] * (1 - z[e]);
                    da_[e] += de * refined;
                    dh_[e] += d * (1 - z[e]);
                    dqz_[e] += dz;
                    dkz_[e] += dz;
                    dqr_[e] += dr;
                    dkr_[e] += dr;
                    dqc_[e] += dn;
                    dkc_[e] += dn * r[e];
                }
            }
        }
}

/* x / (1 − rate), or 0 for about a share of ``rate`` of the numbers: those whose place, hashed with the seed by the last
   step of MurmurHash3 twice, is below ``below`` = rate 2^32. So the same call with the gradient for x gives its gradient.
   B numbers in a row. */
static inline uint32_t hashed(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    return x ^ (x >> 16);
}

#define DROPOUT(WIDE)                                                                                                   \
    void dropout_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, const WIDE *x, const int64_t *seed,                 \
                        const float *scale, const int64_t *below, WIDE *out) {                                          \
        const uint32_t low = (uint32_t)*seed, high = (uint32_t)(*seed >> 32), least = (uint32_t)*below;                 \
        const float times = *scale;                                                                                     \
        _Pragma("omp parallel for simd") for (int64_t i = 0; i < B; i++) {                                              \
            uint32_t number = hashed(hashed((uint32_t)i + low) + (uint32_t)(i >> 32) + high);                           \
            out[i] = store_##WIDE(number < least ? 0.0f : times * load_##WIDE(x[i]));                                   \
        }                                                                                                               \
    }

DROPOUT(float)
DROPOUT(bfloat16)

/* E is the number of words here, B that of positions. */
#define CROSS_ENTROPY(WIDE)                                                                                            \
    /* norm = log Σ exp(logit) */                                                                                       \
    void log_norm_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, const WIDE *logit, float *norm) {                  \
        _Pragma("omp parallel for") for (int64_t b = 0; b < B; b++) {                                                   \
            const WIDE *logit_ = logit + b * E;                                                                         \
            float most = load_##WIDE(logit_[0]), sum = 0;                                                               \
            _Pragma("omp simd reduction(max : most)") for (int64_t e = 0; e < E; e++) {                                 \
                float one = load_##WIDE(logit_[e]);                                                                     \
                most = one > most ? one : most;                                                                         \
            }                                                                                                           \
            _Pragma("omp simd reduction(+ : sum)") for (int64_t e = 0; e < E; e++)                                      \
                sum += exp_(load_##WIDE(logit_[e]) - most);                                                             \
            norm[b] = most + __builtin_logf(sum);                                                                       \
        }                                                                                                               \
    }                                                                                                                   \
    /* g (exp(logit − norm) − even); 0 where g is, whatever stands there */                                             \
    void softmax_gradient_##WIDE(int64_t B, int64_t T, int64_t S, int64_t E, const WIDE *logit, const float *norm,      \
                                 const float *g, const float *even, WIDE *out) {                                        \
        _Pragma("omp parallel for") for (int64_t b = 0; b < B; b++) {                                                   \
            const WIDE *logit_ = logit + b * E;                                                                         \
            WIDE *out_ = out + b * E;                                                                                   \
            const float g_ = g[b], norm_ = norm[b], even_ = *even;                                                      \
            if (g_ == 0)                                                                                                \
                memset(out_, 0, E * sizeof(WIDE));                                                                      \
            else                                                                                                        \
                EACH_NUMBER out_[e] = store_##WIDE(g_ * (exp_(load_##WIDE(logit_[e]) - norm_) - even_));                \
        }                                                                                                               \
    }

CROSS_ENTROPY(float)
CROSS_ENTROPY(bfloat16)
