#ifndef TALON_NNET_IF_H_
#define TALON_NNET_IF_H_

// Integrate-and-fire:  v = v + x;  spike = v >= threshold;  reset where it spiked.

#include "nnet_neuron.h"

namespace nnet {

struct if_config : neuron_config {};

template <typename CONFIG_T> struct if_update {
    typename CONFIG_T::threshold_t *threshold;

    template <class x_T> bool step(unsigned i, x_T x, typename CONFIG_T::membrane_t &v) const {
        #pragma HLS INLINE
        v = (typename CONFIG_T::membrane_t)(v + x);
        return neuron_fire<CONFIG_T>(v, 0, threshold[i]);
    }
};

template <class data_T, class restart_T, class res_T, typename CONFIG_T>
void integrate_and_fire(data_T data[CONFIG_T::n_in], restart_T restart[1], res_T res[CONFIG_T::n_in],
                        typename CONFIG_T::threshold_t threshold[CONFIG_T::n_in]) {
    #pragma HLS INLINE
    if_update<CONFIG_T> update = {threshold};
    neurons<data_T, restart_T, res_T, if_update<CONFIG_T>, CONFIG_T>(data, restart, res, update);
}

template <class data_T, class restart_T, class res_T, typename CONFIG_T>
void integrate_and_fire(hls::stream<data_T> &data, hls::stream<restart_T> &restart, hls::stream<res_T> &res,
                        typename CONFIG_T::threshold_t threshold[CONFIG_T::n_in]) {
    #pragma HLS INLINE
    if_update<CONFIG_T> update = {threshold};
    neurons<data_T, restart_T, res_T, if_update<CONFIG_T>, CONFIG_T>(data, restart, res, update);
}

} // namespace nnet

#endif
