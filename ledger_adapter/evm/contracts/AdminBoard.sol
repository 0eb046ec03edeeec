// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";

/// @title Two of three: a call is made once two of the three members signed it (EIP-712).
/// @notice It is the only proposer of an OpenZeppelin TimelockController, which holds the admin
/// roles: so that an admin action needs two signatures and then the delay.
contract AdminBoard is EIP712 {
    bytes32 private constant CALL_TYPE =
        keccak256("BoardCall(address target,bytes data,uint256 nonce)");
    uint256 public constant THRESHOLD = 2;

    address[3] public members;
    uint256 public nonce;

    event BoardCalled(uint256 indexed nonce, address indexed target);

    error BadMembers();
    error TooFewSignatures(uint256 given);
    error NotAMember(address signer);
    error SignersNotInOrder();

    constructor(address[3] memory board) EIP712("Gridclear AdminBoard", "1") {
        for (uint256 place = 0; place < 3; ++place) {
            // ascending and not zero: three different members
            if (board[place] <= (place == 0 ? address(0) : board[place - 1])) revert BadMembers();
        }
        members = board;
    }

    /// @notice What members sign for the next call.
    function digest(address target, bytes calldata data) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CALL_TYPE, target, keccak256(data), nonce)));
    }

    /// @notice Make a call that two members signed; signatures in ascending order of address.
    function call(address target, bytes calldata data, bytes[] calldata signatures)
        external
        returns (bytes memory)
    {
        if (signatures.length < THRESHOLD) revert TooFewSignatures(signatures.length);
        bytes32 signed = digest(target, data);
        address last = address(0);
        for (uint256 place = 0; place < signatures.length; ++place) {
            address signer = ECDSA.recover(signed, signatures[place]);
            if (signer != members[0] && signer != members[1] && signer != members[2]) {
                revert NotAMember(signer);
            }
            if (signer <= last) revert SignersNotInOrder();
            last = signer;
        }
        emit BoardCalled(nonce, target);
        nonce += 1;
        return Address.functionCall(target, data);
    }
}
